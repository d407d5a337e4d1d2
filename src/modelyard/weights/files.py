"""The files of a base: which they are, what their safetensors headers say, their fingerprint.

Reads headers and raw bytes with the standard library, so that a check costs no import of torch.
Does not know what the tensors mean.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json, read_json

INDEX_NAME = "model.safetensors.index.json"
GRID_NAME = "model.grid"
"""The integers that the weights were made from, where a GGUF file had such (grid.py)."""
_LFS_POINTER = b"version https://git-lfs"
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.safetensors")


_BITS = (
    {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
    | {"BF16": 16, "C64": 64}
    | {f"{kind}{bits}": bits for kind in "IUF" for bits in (8, 16, 32, 64)}
)
"""The bits of a number of each type; the length of one that is not here cannot be checked."""


class UnreadableWeights(ModelyardError):
    """A file that should hold weights is truncated, is no safetensors file, or is missing."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a safetensors file."""

    name: str
    """The parameter's name."""
    dtype: str
    """Its type as the format writes it, such as `BF16`."""
    shape: tuple[int, ...]
    """Its shape."""
    start: int
    """The offset of its first byte in the file."""
    end: int
    """The offset just past its last byte."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files transformers would load from `folder`; some may not exist."""
    if (single := folder / "model.safetensors").exists():
        return [single]
    index = folder / INDEX_NAME
    if index.exists():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
        except (InvalidJson, KeyError, AttributeError, TypeError) as error:
            raise UnreadableWeights("is not an index of weight files", where=str(index)) from error
        return [folder / Path(name).name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    # Shards without their index are a download that has not finished.
    return [index] if any(_SHARD.fullmatch(file.name) for file in found) else found


def read_tensor_entries(path: Path) -> list[TensorEntry]:
    """The tensors a safetensors file says it holds. Raises UnreadableWeights unless it is whole."""
    try:
        with path.open("rb") as stream:
            return _tensor_entries(stream, os.fstat(stream.fileno()).st_size, str(path))
    except OSError as error:
        raise UnreadableWeights(f"cannot read: {error.strerror}", where=str(path)) from error


def tensor_entries_of(data: bytes, *, where: str) -> list[TensorEntry]:
    """The same of a file's bytes, for who must not read a file twice that may change."""
    return _tensor_entries(io.BytesIO(data), len(data), where)


def _tensor_entries(stream: BinaryIO, size: int, where: str) -> list[TensorEntry]:
    first = stream.read(len(_LFS_POINTER))
    if first == _LFS_POINTER:
        raise UnreadableWeights(
            "is a pointer of Git LFS, and not the weights",
            where=where,
            hint="run `git lfs pull` in the clone that it is from",
        )
    stream.seek(8)
    header_size = int.from_bytes(first[:8], "little")
    if not 2 <= header_size <= size - 8:
        raise UnreadableWeights("is not a safetensors file, or is truncated", where=where)
    try:
        header = parse_json(stream.read(header_size))
        return _entries_of(header, start=8 + header_size, size=size)
    except (InvalidJson, _WrongHeader) as error:
        raise UnreadableWeights(
            f"has no readable safetensors header: {error}",
            where=where,
            hint="get the file again from where it was made",
        ) from error


class _WrongHeader(ValueError):
    """A header is JSON, and safetensors would not read the file."""


def _entries_of(header: Any, *, start: int, size: int) -> list[TensorEntry]:
    """The tensors of a header, in its order; those that safetensors reads, and no others.

    Each has a type, a shape and as many bytes as they need. Together they are the file from `start`
    to its end, without a gap or an overlap (the format's README).
    """
    if not isinstance(header, dict):
        raise _WrongHeader("it is no object")
    metadata = header.get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _WrongHeader("__metadata__ is not text by name")
    entries = [
        _entry_of(name, facts, start) for name, facts in header.items() if name != "__metadata__"
    ]
    at = start
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != at:
            raise _WrongHeader(f"{entry.name} does not begin where the tensor before it ends")
        at = entry.end
    if at != size:
        raise _WrongHeader("the file is not as long as its header says")
    return entries


def _entry_of(name: str, facts: Any, start: int) -> TensorEntry:
    try:
        dtype, shape, offsets = (facts[key] for key in ("dtype", "shape", "data_offsets"))
    except (KeyError, TypeError) as error:
        raise _WrongHeader(f"{name} lacks a dtype, a shape or data_offsets") from error
    if not isinstance(dtype, str) or not _are_sizes(shape):
        raise _WrongHeader(f"{name} has no dtype and shape of whole numbers")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _WrongHeader(f"{name} has no data_offsets [begin, end]")
    bits = _BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != 8 * (offsets[1] - offsets[0]):
        raise _WrongHeader(f"{name} is not as long as its shape")
    return TensorEntry(name, dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def fingerprint_weights(folder: Path) -> str:
    """`sha256:<hex>` over name, dtype, shape and bytes of every tensor, in the order of the names.

    How the tensors are spread over files does not matter. Raises UnreadableWeights.
    """
    # Imported here: a search, which computes no fingerprint of weights, starts sooner.
    import mmap
    from concurrent.futures import ThreadPoolExecutor

    files = weight_files(folder)
    if not files:
        raise UnreadableWeights("has no safetensors files", where=str(folder))
    lines: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in files:
            entries = read_tensor_entries(path)
            with (
                path.open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as data,
            ):
                digests = list(pool.map(lambda entry: _digest(data, entry), entries))
            for entry, digest in zip(entries, digests, strict=True):
                if entry.name in lines:
                    raise UnreadableWeights(
                        f"holds '{entry.name}', which another file holds too", where=str(path)
                    )
                lines[entry.name] = json.dumps(
                    [entry.name, entry.dtype, list(entry.shape), digest], ensure_ascii=False
                )
    joined = "".join(f"{lines[name]}\n" for name in sorted(lines))
    return f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}"


def _digest(data: memoryview, entry: TensorEntry) -> str:
    with data[entry.start : entry.end] as view:
        return hashlib.sha256(view).hexdigest()


@dataclass(frozen=True, slots=True)
class FilePatterns:
    """Which files make up a model, as glob patterns; a `*` also stands for a `/`."""

    wanted: tuple[str, ...]
    """Patterns of which a file's path matches at least one."""
    unwanted: tuple[str, ...]
    """Patterns of which it matches none."""

    def matches(self, path: str) -> bool:
        """Whether a file at this path inside the model's folder is one of those that make it up."""
        return _matches_any(path, self.wanted) and not _matches_any(path, self.unwanted)


def _matches_any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


BASE_FILES = FilePatterns(
    ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", GRID_NAME),
    # Some repositories ship the same weights a second time, in their maker's own format.
    ("*/*", "consolidated*"),
)
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def missing_parts(folder: Path) -> list[str]:
    """The names of the files a base needs and `folder` does not have."""
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    weights = weight_files(folder) or [folder / "model.safetensors"]
    return missing + [file.name for file in weights if not file.is_file()]


def base_files(folder: Path) -> list[str]:
    """The names of the files in `folder` that make up a base."""
    return sorted(path.name for path in folder.iterdir() if BASE_FILES.matches(path.name))
