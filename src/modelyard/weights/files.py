"""Which files make up a base, wherever it comes from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from modelyard.weights.fingerprint import weight_files

FILE_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt")
"""The files that make up a base; whatever else lies in its folder is not looked at."""
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def missing_parts(folder: Path) -> list[str]:
    """The names of the files a base needs and `folder` does not have."""
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    weights = weight_files(folder)
    if not weights:
        missing.append("model.safetensors")
    return missing + [file.name for file in weights if not file.is_file()]


def base_files(folder: Path) -> list[str]:
    """The names of the files in `folder` that make up a base."""
    return sorted(place.name for place in folder.iterdir() if is_base_file(place.name))


def is_base_file(path: str) -> bool:
    """Whether a file at this path inside a base's folder is one of those that make it up."""
    # Some repositories ship the same weights a second time, in their maker's own format.
    if "/" in path or path.startswith("consolidated"):
        return False
    return any(fnmatchcase(path, pattern) for pattern in FILE_PATTERNS)
