"""Where every blob of a repository is: which pack, which frame, where in it.

Read from the index objects of the repository, each of which was written by one run for its packs.
"""

from __future__ import annotations

import json
import re
import secrets
import struct
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any, Literal, NamedTuple, get_args

from modelyard.backup.manifest import BLOCK_BYTES, SNAPSHOT_ID
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json

Encoding = Literal["zstd", "raw"]

FRAME_BYTES = 1 << 20
"""The most bytes of several blobs that are compressed together; a larger blob is alone."""
PACK_BYTES = 16 << 20
"""A pack is written once its frames hold this much; the last one may make it longer."""
_MOST_PACK_BYTES = PACK_BYTES + 2 * BLOCK_BYTES
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASHES = re.compile(r"(?:[0-9a-f]{64})+")
_HASH_BYTES = 32


class DamagedIndex(ModelyardError):
    """An index object of a repository is not valid."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Some blobs, joined and compressed together, in a pack."""

    at: int
    """Its first byte in the pack."""
    length: int
    """Its bytes there."""
    encoding: Encoding
    """How it is stored."""
    blobs: tuple[tuple[str, int], ...]
    """The SHA-256 and the size of each blob in it, in order."""

    @property
    def size(self) -> int:
        """Its bytes once decompressed."""
        return sum(size for _, size in self.blobs)


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack and what is in it."""

    name: str
    """The SHA-256 of its bytes as stored."""
    size: int
    """Its bytes as stored."""
    frames: tuple[Frame, ...]
    """What is in it; of an encrypted pack, once it is decrypted."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where one blob is."""

    pack: str
    """The pack that holds it."""
    at: int
    """The first byte of its frame in the pack."""
    length: int
    """The bytes of its frame there."""
    encoding: Encoding
    """How the frame is stored."""
    frame_size: int
    """The bytes of the frame once decompressed."""
    skip: int
    """Where the blob begins in the decompressed frame."""
    size: int
    """The bytes of the blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPart:
    """The content of one index object."""

    packs: tuple[Pack, ...] = ()
    """The packs that a run wrote."""
    snapshots: tuple[str, ...] = ()
    """Snapshots that are complete; so that one which vanishes is missed."""
    removed: tuple[str, ...] = ()
    """Snapshots that were removed on purpose since."""


class BlobIndex:
    """All index objects of a repository together.

    It takes some 180 bytes of memory for each blob: 1 MB for 100 MB of SQLite files, and next to
    nothing for other large files.
    """

    def __init__(self, names: Iterable[str] = (), snapshots: Iterable[str] = ()) -> None:
        self.names = set(names)
        """The index objects that it was read from."""
        self.snapshots = set(snapshots)
        """The snapshots that should be there."""
        self.removed: set[str] = set()
        """The snapshots that were removed on purpose."""
        self._packs: dict[str, _Pack] = {}
        # Of each frame, by its number: its pack, where it is there, its size, its first blob.
        self._frames: list[_Frame] = []
        # Of each blob, by its number: its hash, its frame, and where it begins in that.
        self._hashes = bytearray()
        self._frame_of, self._skips, self._sizes = array("I"), array("I"), array("I")
        self._numbers: dict[int | bytes, int] = {}
        """Of each blob, by the first 8 bytes of its hash; by all of it where two are equal."""

    def find(self, sha256: str) -> Location | None:
        """Where the blob is; None when it is in no pack."""
        digest = bytes.fromhex(sha256)
        for key in (int.from_bytes(digest[:8], "big"), digest):
            number = self._numbers.get(key)
            if number is not None and self._hash(number) == digest:
                frame = self._frames[self._frame_of[number]]
                return Location(
                    frame.pack,
                    frame.at,
                    frame.length,
                    frame.encoding,
                    frame.size,
                    self._skips[number],
                    self._sizes[number],
                )
        return None

    def packs(self) -> Mapping[str, int]:
        """The size of every pack, by its name."""
        return {name: pack.size for name, pack in self._packs.items()}

    def pack(self, name: str) -> Pack:
        """A pack with its frames. Raises KeyError when there is none."""
        found = self._packs[name]
        return Pack(name, found.size, tuple(self._frame(number) for number in found.frames))

    def add_pack(self, pack: Pack) -> None:
        """Add what a pack holds; of a blob in two packs the first counts."""
        if pack.name in self._packs:
            return
        first_frame = len(self._frames)
        for frame in pack.frames:
            first = len(self._sizes)
            hashes = bytes.fromhex("".join(sha256 for sha256, _ in frame.blobs))
            sizes = [size for _, size in frame.blobs]
            self._frames.append(
                _Frame(
                    pack.name, frame.at, frame.length, frame.encoding, sum(sizes), first, len(sizes)
                )
            )
            self._hashes += hashes
            self._sizes.extend(sizes)
            self._skips.extend(accumulate(sizes[:-1], initial=0))
            self._frame_of.extend(repeat(len(self._frames) - 1, len(sizes)))
            prefixes = struct.unpack(f">{4 * len(sizes)}Q", hashes)[::4]
            for number, prefix in enumerate(prefixes, first):
                known = self._numbers.setdefault(prefix, number)
                if known != number and self._hash(known) != self._hash(number):
                    self._numbers.setdefault(self._hash(number), number)
        self._packs[pack.name] = _Pack(pack.size, range(first_frame, len(self._frames)))

    def without(self, lost: Collection[str]) -> BlobIndex:
        """The same without these packs."""
        kept = BlobIndex(self.names, self.snapshots)
        kept.removed |= self.removed
        for name in self._packs:
            if name not in lost:
                kept.add_pack(self.pack(name))
        return kept

    def _hash(self, number: int) -> bytes:
        return bytes(self._hashes[_HASH_BYTES * number : _HASH_BYTES * (number + 1)])

    def _frame(self, number: int) -> Frame:
        frame = self._frames[number]
        numbers = range(frame.first_blob, frame.first_blob + frame.blobs)
        blobs = tuple((self._hash(blob).hex(), self._sizes[blob]) for blob in numbers)
        return Frame(frame.at, frame.length, frame.encoding, blobs)


class _Pack(NamedTuple):
    size: int
    frames: range


class _Frame(NamedTuple):
    pack: str
    at: int
    length: int
    encoding: Encoding
    size: int
    first_blob: int
    blobs: int


def index_bytes(part: IndexPart) -> bytes:
    """The JSON of an index object; random bytes in it give it a name of its own."""
    packs = [
        {
            "pack": pack.name,
            "size": pack.size,
            "frames": [
                {
                    "at": frame.at,
                    "length": frame.length,
                    "encoding": frame.encoding,
                    "blobs": [[sha256, size] for sha256, size in frame.blobs],
                }
                for frame in pack.frames
            ],
        }
        for pack in part.packs
    ]
    values = {
        "packs": packs,
        "snapshots": part.snapshots,
        "removed": part.removed,
        "nonce": secrets.token_hex(8),
    }
    return json.dumps(values, separators=(",", ":")).encode()


def parse_index(data: bytes, *, where: str) -> IndexPart:
    """The content of an index object. Raises DamagedIndex, which names it `where`."""
    try:
        values = parse_json(data)
        return IndexPart(
            packs=tuple(_pack(one) for one in values["packs"]),
            snapshots=_ids(values["snapshots"]),
            removed=_ids(values["removed"]),
        )
    except InvalidJson as error:
        raise DamagedIndex(error.message, where=where) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedIndex(f"is no valid index: {error}", where=where) from error


def _pack(values: Any) -> Pack:
    size = _number(values["size"], _MOST_PACK_BYTES)
    frames = tuple(_frame(one) for one in values["frames"])
    return Pack(_sha256(values["pack"]), size, frames)


def _frame(values: Any) -> Frame:
    encoding = values["encoding"]
    blobs = tuple((sha256, size) for sha256, size in values["blobs"])
    if not all(type(size) is int and 0 <= size <= BLOCK_BYTES for _, size in blobs):
        raise ValueError("the size of a blob")
    hashes = [sha256 for sha256, _ in blobs]
    if not _HASHES.fullmatch("".join(hashes)) or {len(sha256) for sha256 in hashes} != {64}:
        raise ValueError("what is no SHA-256")
    frame = Frame(
        _number(values["at"], _MOST_PACK_BYTES),
        _number(values["length"], _MOST_PACK_BYTES),
        encoding,
        blobs,
    )
    if encoding not in get_args(Encoding):
        raise ValueError(f"the encoding {encoding!r}")
    if len(blobs) > 1 and frame.size > FRAME_BYTES:
        raise ValueError("a frame that is too large")
    return frame


def _ids(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(id, str) and SNAPSHOT_ID.fullmatch(id) for id in values):
        raise ValueError("what is no snapshot")
    return tuple(values)


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{value!r}, where a SHA-256 belongs")
    return value


def _number(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r}, where a number up to {most:,} belongs")
    return value
