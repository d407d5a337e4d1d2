"""Copying snapshots into another repository: what it lacks, checked, under its own key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.backup.blob_index import BlobIndex, IndexPart
from modelyard.backup.leases import hold_lease
from modelyard.backup.manifest import Snapshot
from modelyard.backup.needed import Needed
from modelyard.backup.packing import packing
from modelyard.backup.pending import pending_packs
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.reading_in_order import read_in_order
from modelyard.backup.repository import Repository
from modelyard.core.errors import InvalidInput
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSnapshot:
    """A snapshot that is in both repositories."""

    snapshot: str
    """Its id in the source."""
    target: str | None
    """Its id in the target; another one where a key is. None in a dry run."""
    copied: bool
    """Whether it was copied now; else the target had it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What a copy did, or would do."""

    source: str
    """The repository that was read."""
    target: str
    """The repository that was written."""
    dry_run: bool
    """Whether nothing was written."""
    snapshots: tuple[CopiedSnapshot, ...]
    """From the oldest to the newest."""
    read_bytes: int
    """What the target lacked, not compressed; in a dry run what it lacks."""
    stored_bytes: int
    """What was added to the target, compressed; 0 in a dry run."""
    seconds: float
    """How long it took."""


def copy_snapshots(
    source: Repository,
    target: Repository,
    names: Sequence[str],
    *,
    progress: Progress,
    dry_run: bool = False,
) -> CopyResult:
    """Copy snapshots (none named: all) from one repository to another.

    Each blob is checked against its hash when it is read, each pack read back when it is written,
    and a snapshot appears when all that it needs is there. What a killed copy has stored, the next
    finds. Raises InvalidInput for two addresses of one repository, NoData and InvalidInput for a
    name, and what reading damaged data and what storing raise.
    """
    began = time.monotonic()
    if source.id == target.id:
        raise InvalidInput(
            "both addresses lead to the same repository",
            where=target.store.url,
            hint="copy to another place; a copy in the same one protects from nothing",
        )
    ids = [source.load_snapshot(name).id for name in names] or source.snapshots()
    snapshots = [source.read_snapshot(id) for id in sorted(set(ids))]
    with hold_lease(target.store, "copy") as lease:
        index = _reliable_index(target)
        there = {_identity(one): one.id for one in map(target.read_snapshot, target.snapshots())}
        wanted = [one for one in snapshots if _identity(one) not in there]
        needed = Needed()
        reader = BlobReader(source, source.load_index())
        for snapshot in wanted:
            needed.add_snapshot(snapshot, reader.read)
        missing = [sha256 for sha256 in needed if index.find(sha256) is None]
        size = sum(reader.find(sha256).size for sha256 in missing)
        progress.stage(
            f"copy {counted(len(wanted), 'snapshot')}, {megabytes(size)} that the target lacks"
        )
        stored = 0
        if wanted and not dry_run:
            progress.begin("copy", max(size, 1), "bytes")
            done = 0
            with packing(target, index) as packer:
                for sha256, data in read_in_order(reader, missing):
                    packer.add(data, of_tree=needed.is_tree(sha256))
                    done += len(data)
                    progress.advance(done)
                packer.finish()
            progress.end()
            stored = packer.stored_bytes
            lease.require()
            try:
                _publish(target, wanted, snapshots, there, index)
            except BaseException:
                lease.leave()  # as when killed: a snapshot may be there that no index names
                raise
    return CopyResult(
        source=source.store.url,
        target=target.store.url,
        dry_run=dry_run,
        snapshots=tuple(
            CopiedSnapshot(snapshot=one.id, target=there.get(_identity(one)), copied=one in wanted)
            for one in snapshots
        ),
        read_bytes=size,
        stored_bytes=stored,
        seconds=time.monotonic() - began,
    )


def _reliable_index(target: Repository) -> BlobIndex:
    """Where the blobs are that the target has and keeps; the order is that of pending.py."""
    pending = pending_packs(target.store)
    index = target.load_index()
    there = target.listing().packs
    lost = {name for name, size in index.packs().items() if there.get(name) != size}
    return index.without(lost | pending) if lost | pending else index


def _publish(
    target: Repository,
    wanted: Sequence[Snapshot],
    snapshots: Sequence[Snapshot],
    there: dict[Snapshot, str],
    index: BlobIndex,
) -> None:
    """Store snapshots, whose blobs are all there, and name them as complete; adds to `there`."""
    parents = {snapshot.id: snapshot for snapshot in snapshots}
    for snapshot in wanted:
        parent = parents.get(snapshot.parent or "")
        copied = replace(
            snapshot,
            parent=None if parent is None else there.get(_identity(parent)),
            indexes=tuple(sorted(index.names)),
        )
        there[_identity(snapshot)] = target.put_snapshot(copied, copy_of=snapshot.id).id
    named = set(target.snapshots()) - index.snapshots - index.removed
    target.put_index(IndexPart(snapshots=tuple(sorted(named))))


def _identity(snapshot: Snapshot) -> Snapshot:
    """What is equal in a snapshot and its copy."""
    return replace(snapshot, id="", parent=None, indexes=())
