"""What is in a repository, and who is at work there, read in an order that prune can rely on.

Marks first, then indexes, then the packs that are there, then leases, and snapshots last. So a
backup that ends meanwhile is seen either by its lease or by its snapshot, never by neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelyard.backup.blob_index import BlobIndex
from modelyard.backup.leases import Lease, SeenLease, seen_leases
from modelyard.backup.manifest import Snapshot
from modelyard.backup.needed import Needed
from modelyard.backup.pending import Mark, read_marks
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import DamagedRepository, Repository, pack_key
from modelyard.backup.retention import Keep, kept_snapshots
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.stores.store import StoredObject

_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A repository at one time."""

    marks: tuple[Mark, ...]
    """Packs that are to go."""
    index: BlobIndex
    """Where the blobs are in the packs that are there, whole; pending ones too."""
    lost: frozenset[str]
    """Packs of the index that are not there, or not whole."""
    packs: Mapping[str, StoredObject]
    """Every pack that is there, by its name, in an index or not."""
    others: tuple[SeenLease, ...]
    """Who else is at work, or was."""
    now_s: float
    """The time by the clock of the store."""
    snapshots: tuple[Snapshot, ...]
    """Every snapshot, from the oldest to the newest."""

    @property
    def pending(self) -> frozenset[str]:
        """The packs in any mark."""
        return frozenset(pack for mark in self.marks for pack in mark.packs)

    @property
    def alive(self) -> frozenset[str]:
        """The leases of work that may still go on."""
        return frozenset(lease.id for lease in self.others if not lease.lapsed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Which packs some snapshots need."""

    usable: BlobIndex
    """Where the blobs are in packs that are there and not pending."""
    needed: Needed
    """The blobs that they need."""
    live_bytes: Mapping[str, int]
    """By the name of each needed pack: the bytes of its needed blobs, not compressed."""
    rescued: frozenset[str]
    """Pending packs that are needed all the same."""


def take_survey(repository: Repository, lease: Lease | None) -> Survey:
    """Read what is in a repository.

    lease: one's own; None in a dry run, where this machine's clock stands for that of the store.
    Raises DamagedMark, StoreFailed, and what reading a damaged index or snapshot raises.
    """
    marks = tuple(read_marks(repository.store))
    index = repository.load_index()
    packs = _packs_there(repository)
    sizes = index.packs()
    lost = {name for name in sizes if name not in packs or packs[name].size_bytes != sizes[name]}
    pending = {pack for mark in marks for pack in mark.packs}
    others = seen_leases(repository.store, time.time()) if lease is None else lease.others()
    return Survey(
        marks=marks,
        index=_pending_last(index.without(lost) if lost else index, pending),
        lost=frozenset(lost),
        packs=packs,
        others=tuple(others),
        now_s=time.time() if lease is None else lease.now_s(),
        snapshots=_read_snapshots(repository),
    )


def survey_needs(
    repository: Repository, lease: Lease | None, keep: Keep, progress: Progress
) -> tuple[Survey, dict[str, tuple[str, ...]], Needed]:
    """A survey, the snapshots that are kept with the reasons, and what they need.

    All of that is certain to be there. Raises DamagedRepository when a blob is missing, and
    DamagedSnapshot for a damaged tree: nothing may be deleted then.
    """
    for _ in range(_TRIES):
        survey = take_survey(repository, lease)
        kept = kept_snapshots(survey.snapshots, keep)
        progress.stage(
            f"find what {counted(len(kept), 'snapshot')} of {len(survey.snapshots)} need"
        )
        needed = Needed()
        reader = BlobReader(repository, survey.index)
        try:
            for snapshot in survey.snapshots:
                if snapshot.id in kept:
                    needed.add_snapshot(snapshot, reader.read)
            missing = next((blob for blob in needed if survey.index.find(blob) is None), None)
            if missing is None:
                return survey, kept, needed
            error = DamagedRepository(f"no pack holds the blob {missing[:16]} of a snapshot")
        except DamagedRepository as found:  # a backup may have ended since the indexes were read
            error = found
    raise DamagedRepository(
        f"nothing is deleted while something is missing: {error.message}",
        where=error.where or repository.store.url,
        hint="`models backup verify` says what it touches",
    )


def find_usage(survey: Survey, needed: Needed) -> Usage:
    """Which packs hold what is needed; a pending one only where no other pack does."""
    usable = survey.index.without(survey.pending) if survey.pending else survey.index
    live: dict[str, int] = {}
    rescued = set()
    for sha256 in needed:
        place = usable.find(sha256)
        if place is None:
            place = survey.index.find(sha256)
            assert place is not None, "survey_needs has found it"
            rescued.add(place.pack)
        live[place.pack] = live.get(place.pack, 0) + place.size
    return Usage(usable=usable, needed=needed, live_bytes=live, rescued=frozenset(rescued))


def total_bytes(survey: Survey, packs: Iterable[str]) -> int:
    """The size of these packs as stored; those that are not there count nothing."""
    return sum(survey.packs[name].size_bytes for name in packs if name in survey.packs)


def _pending_last(index: BlobIndex, pending: set[str]) -> BlobIndex:
    """The same index, where a blob is found in a pending pack only if no other holds it."""
    if not pending & index.packs().keys():
        return index
    ordered = index.without(pending)
    for name in sorted(pending & index.packs().keys()):
        ordered.add_pack(index.pack(name))
    return ordered


def _packs_there(repository: Repository) -> dict[str, StoredObject]:
    entries = (
        (entry.key.rpartition("/")[2], entry) for entry in repository.store.listing("packs/")
    )
    return {name: entry for name, entry in entries if entry.key == pack_key(name)}


def _read_snapshots(repository: Repository) -> tuple[Snapshot, ...]:
    """Every snapshot; one that another prune has just removed is left out."""
    snapshots = []
    for id in repository.snapshots():
        try:
            snapshots.append(repository.read_snapshot(id))
        except DamagedRepository:
            if repository.store.size_bytes(f"snapshots/{id}") is not None:
                raise
    return tuple(snapshots)
