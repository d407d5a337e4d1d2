"""Merging the index objects of many runs into few; nothing in them is lost at any moment.

A merged index is written and read back before those that it stands for are deleted. Two prunes that
merge at once leave everything twice at worst, for the next to merge again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from modelyard.backup.blob_index import IndexPart, Pack
from modelyard.backup.repository import DamagedRepository, Repository

MOST_INDEXES = 8
"""With more index objects than this, they are merged."""
MERGED_BLOBS = 100_000
"""How many blobs a merged index has at least, if there are as many: about 3 MB compressed."""


def merge_indexes(repository: Repository, names: Iterable[str], gone: Collection[str]) -> int:
    """Merge index objects where that is worth it, and forget packs that are gone.

    Returns how many objects were replaced. Raises what reading and storing an index raise.
    """
    names = sorted(names)
    parts = {name: part for name in names if (part := _read(repository, name)) is not None}
    stale = {name for name, part in parts.items() if any(pack.name in gone for pack in part.packs)}
    if not stale and len(parts) <= MOST_INDEXES:
        return 0
    large = {name for name, part in parts.items() if _is_large(part)}
    replaced = sorted(parts.keys() - (large - stale))
    packs = {pack.name: pack for name in replaced for pack in parts[name].packs}
    removed = {id for name in replaced for id in parts[name].removed}
    snapshots = {id for name in replaced for id in parts[name].snapshots} - removed
    _write(
        repository,
        [pack for name, pack in sorted(packs.items()) if name not in gone],
        IndexPart(snapshots=tuple(sorted(snapshots)), removed=tuple(sorted(removed))),
    )
    repository.store.delete([f"indexes/{name}" for name in replaced])
    return len(replaced)


def _read(repository: Repository, name: str) -> IndexPart | None:
    """An index object; None where another prune has merged it meanwhile."""
    try:
        return repository.read_index(name)
    except DamagedRepository:
        if repository.store.size_bytes(f"indexes/{name}") is not None:
            raise
        return None


def _is_large(part: IndexPart) -> bool:
    blobs = sum(len(frame.blobs) for pack in part.packs for frame in pack.frames)
    return blobs >= MERGED_BLOBS and not part.snapshots and not part.removed


def _write(repository: Repository, packs: Iterable[Pack], rest: IndexPart) -> None:
    group: list[Pack] = []
    blobs = 0
    for pack in packs:
        group.append(pack)
        blobs += sum(len(frame.blobs) for frame in pack.frames)
        if blobs >= MERGED_BLOBS:
            repository.put_index(IndexPart(packs=tuple(group)))
            group, blobs = [], 0
    repository.put_index(
        IndexPart(packs=tuple(group), snapshots=rest.snapshots, removed=rest.removed)
    )
