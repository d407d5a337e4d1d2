"""Reading many blobs, pack by pack: each pack and each frame of it is fetched once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from modelyard.backup.blob_index import Location
from modelyard.backup.read_blobs import BlobReader


def read_in_order(reader: BlobReader, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Each of these blobs, by its SHA-256, in the order of packs, and its bytes, checked.

    Raises DamagedRepository, DamagedData or StoreFailed when one cannot be read as it was.
    """
    places = sorted(
        ((reader.find(sha256), sha256) for sha256 in set(blobs)),
        key=lambda found: (found[0].pack, found[0].at, found[0].skip),
    )
    for pack, in_pack in groupby(places, key=lambda found: found[0].pack):
        frames = [list(found) for _, found in groupby(in_pack, key=lambda found: found[0].at)]
        opened = reader.read_frames(pack, [_first(found) for found in frames])
        for found, (_, frame) in zip(frames, opened, strict=True):
            for place, sha256 in found:
                yield sha256, bytes(frame.blob(sha256, place))


def _first(found: list[tuple[Location, str]]) -> Location:
    return found[0][0]
