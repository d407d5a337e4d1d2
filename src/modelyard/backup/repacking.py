"""Packs of which little is needed, and many small ones: what is needed is stored again together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.backup.packing import packing
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.reading_in_order import read_in_order
from modelyard.backup.repository import Repository
from modelyard.backup.survey import Survey, Usage
from modelyard.core.progress import Progress

LEAST_UNUSED = 0.25
"""The share of a pack's blobs, by bytes, that must be unused for it to be worth storing again."""
SMALL_PACK_BYTES = 4 << 20
"""Each small backup leaves a pack below this size."""
MANY_SMALL_PACKS = 20
"""So many of them are stored again together."""
_MOST_BYTES = 4 << 30
"""What is read in one run; the rest waits for the next."""


def worth_repacking(survey: Survey, usage: Usage, packs: Iterable[str]) -> frozenset[str]:
    """Which of these packs, all needed and none pending, are to be stored again."""
    chosen, small, left = set(), set(), _MOST_BYTES
    for name in sorted(packs):
        pack = usage.usable.pack(name)
        whole = sum(frame.size for frame in pack.frames)
        live = usage.live_bytes[name]
        if left < live:
            continue
        if whole - live >= LEAST_UNUSED * whole:
            chosen.add(name)
            left -= live
        elif pack.size < SMALL_PACK_BYTES:
            small.add(name)
    if len(small) >= MANY_SMALL_PACKS:
        chosen |= small
    return frozenset(chosen)


def repack(
    repository: Repository,
    survey: Survey,
    usage: Usage,
    packs: frozenset[str],
    progress: Progress,
) -> int:
    """Store the needed blobs of some packs again, read back and indexed.

    Returns how many bytes were written. Raises what reading a damaged blob and what storing raise;
    the old packs are as they were then.
    """
    index = usage.usable.without(packs)
    reader = BlobReader(repository, usage.usable)
    live = sum(usage.live_bytes[name] for name in packs)
    progress.begin("repack", live, "bytes")
    done = 0
    wanted = _needed_in(usage, packs)
    with packing(repository, index) as packer:
        for sha256, data in read_in_order(reader, wanted):
            packer.add(data, of_tree=wanted[sha256])
            done += len(data)
            progress.advance(done)
        packer.finish()
    progress.end()
    return packer.stored_bytes


def _needed_in(usage: Usage, packs: frozenset[str]) -> Mapping[str, bool]:
    """The needed blobs that are found in these packs, and whether each is a tree."""
    found = {}
    for name in packs:
        for frame in usage.usable.pack(name).frames:
            for sha256, _ in frame.blobs:
                place = usage.usable.find(sha256)
                if place is not None and place.pack == name and usage.needed.holds(sha256):
                    found[sha256] = usage.needed.is_tree(sha256)
    return found
