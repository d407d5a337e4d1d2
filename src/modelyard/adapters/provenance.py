"""What made a version: the packages installed here and the commit of this program."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import modelyard

_PACKAGES = (
    "modelyard",
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "accelerate",
    "tokenizers",
    "safetensors",
    "bitsandbytes",
    "numpy",
)
_GIT_TIMEOUT_S = 5


def installed_packages() -> dict[str, str]:
    """The versions of the packages that decide what training gives, without importing them."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def source_commit(source: Path | None = None) -> str | None:
    """The git commit this program runs from, with `-dirty` when its files differ from it.

    None when the source (default: this package) is not tracked by git, as in an installed wheel,
    even if that lies inside somebody's repository.
    """
    folder = source or Path(modelyard.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return f"{commit}-dirty" if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None when it fails or is not there."""
    # Inside a git hook these would point git at the hook's repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.strip()
