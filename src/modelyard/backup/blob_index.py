"""Where every blob of a repository is: which pack, which frame, where in it.

Read from the index objects of the repository, each of which was written by one run for its packs.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

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


@dataclass(slots=True)
class BlobIndex:
    """All index objects of a repository together."""

    names: set[str] = field(default_factory=set)
    """The index objects that it was read from."""
    snapshots: set[str] = field(default_factory=set)
    """The snapshots that should be there."""
    _packs: dict[str, Pack] = field(default_factory=dict)
    _blobs: dict[bytes, Location] = field(default_factory=dict)

    def find(self, sha256: str) -> Location | None:
        """Where the blob is; None when it is in no pack."""
        return self._blobs.get(bytes.fromhex(sha256))

    def packs(self) -> Mapping[str, int]:
        """The size of every pack, by its name."""
        return {name: pack.size for name, pack in self._packs.items()}

    def pack(self, name: str) -> Pack:
        """A pack with its frames. Raises KeyError when there is none."""
        return self._packs[name]

    def add_pack(self, pack: Pack) -> None:
        """Add what a pack holds; of a blob in two packs the first counts."""
        self._packs[pack.name] = pack
        for frame in pack.frames:
            skip = 0
            for sha256, size in frame.blobs:
                place = Location(
                    pack.name, frame.at, frame.length, frame.encoding, frame.size, skip, size
                )
                self._blobs.setdefault(bytes.fromhex(sha256), place)
                skip += size

    def without(self, lost: set[str]) -> BlobIndex:
        """The same without these packs."""
        kept = BlobIndex(set(self.names), set(self.snapshots))
        for name, pack in self._packs.items():
            if name not in lost:
                kept.add_pack(pack)
        return kept


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
    blobs = tuple((_sha256(sha256), _number(n, BLOCK_BYTES)) for sha256, n in values["blobs"])
    frame = Frame(
        _number(values["at"], _MOST_PACK_BYTES),
        _number(values["length"], _MOST_PACK_BYTES),
        encoding,
        blobs,
    )
    if encoding not in get_args(Encoding):
        raise ValueError(f"the encoding {encoding!r}")
    if frame.size > FRAME_BYTES and len(blobs) > 1:
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
