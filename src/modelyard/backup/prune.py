"""Removing old snapshots, and later what only they needed.

Nothing that is stored is deleted by the run that finds it unused. That run writes it down as
pending (`pending.py`); a later one, at least a day after, deletes it if it is still unused and all
work that could rely on it has ended. Each run takes all steps: it removes snapshots, stores little
used packs again, marks what is unused, merges indexes, and deletes what is due. Killed at any
time, it leaves a repository that is whole, and the next run goes on. Prunes and backups may overlap
in any number; why that is safe is in `pending.py`, `survey.py` and `leases.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.backup.blob_index import IndexPart
from modelyard.backup.index_merging import merge_indexes
from modelyard.backup.leases import Lease, describe_lease, hold_lease
from modelyard.backup.pending import Mark, complete_mark, remove_marks, write_mark
from modelyard.backup.repacking import repack, worth_repacking
from modelyard.backup.repository import Repository, pack_key
from modelyard.backup.retention import Keep
from modelyard.backup.survey import (
    Survey,
    Usage,
    find_usage,
    survey_needs,
    total_bytes,
)
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes

LEAST_GRACE_S = 24 * 3600.0
"""The shortest time between finding a pack unused and deleting it."""
_CLOCK_STEP_S = 2.0
"""Stores cut times to seconds."""
_READ_BACK_S = 60.0
"""By then an object that was written has been read back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """A snapshot that is kept."""

    snapshot: str
    """Its id."""
    rules: tuple[str, ...]
    """The rules that keep it: last, daily, weekly, monthly, or why it is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What a prune did, or would do."""

    repository: str
    """Where it is."""
    dry_run: bool
    """Whether nothing was changed."""
    kept: tuple[KeptSnapshot, ...]
    """The snapshots that are kept, from the oldest to the newest."""
    removed: tuple[str, ...]
    """The snapshots that were removed."""
    deleted_packs: int
    """Packs that an earlier prune had found unused, and that were deleted."""
    deleted_bytes: int
    """Their size as stored."""
    repacked_packs: int
    """Packs of which the needed part was stored again, together with that of others."""
    repacked_bytes: int
    """What was stored for that; 0 in a dry run."""
    marked_packs: int
    """Packs that were newly found unused, the repacked ones included."""
    marked_bytes: int
    """Their size as stored."""
    pending_packs: int
    """All packs that a later prune deletes."""
    pending_bytes: int
    """Their size as stored."""
    pending_until: str | None
    """When the first of them may be deleted, UTC; None where there is none."""
    waits_for: tuple[str, ...]
    """Work under way that must end before what is due can be deleted."""
    merged_indexes: int
    """Index objects that were merged into fewer."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be done with what a survey found."""

    kept: dict[str, tuple[str, ...]]
    removed: tuple[str, ...]
    due: tuple[Mark, ...]
    """Marks whose packs go now."""
    waiting: tuple[Mark, ...]
    """Marks that stay."""
    deleted: frozenset[str]
    repacked: frozenset[str]
    unused: frozenset[str]
    waits_for: frozenset[str]


def prune(
    repository: Repository,
    keep: Keep,
    *,
    progress: Progress,
    grace_s: float = LEAST_GRACE_S,
    dry_run: bool = False,
) -> PruneResult:
    """Remove the snapshots that no rule keeps, and what was found unused long enough ago.

    grace_s: how long ago, in seconds by the clock of the store.
    Raises DamagedRepository and the like when anything is missing or damaged: nothing is deleted
    then. Raises StoreFailed; the next run completes what this one began.
    """
    began = time.monotonic()
    if dry_run:
        survey, kept, needed = survey_needs(repository, None, keep, progress)
        plan = _plan(survey, kept, find_usage(survey, needed), grace_s)
        return _result(repository, survey, plan, grace_s, began, dry_run=True)
    with hold_lease(repository.store, "prune") as lease:
        survey, kept, needed = survey_needs(repository, lease, keep, progress)
        usage = find_usage(survey, needed)
        plan = _plan(survey, kept, usage, grace_s)
        _remove_snapshots(repository, survey, plan.removed)
        written = 0
        if plan.repacked:
            written = repack(repository, survey, usage, plan.repacked, progress)
        _mark_unused(repository, lease, plan)
        # First no index says that they are there, and then they go: each state between is whole.
        names = survey.index.names & _settled_indexes(repository, lease)
        merged = merge_indexes(repository, names, plan.deleted | survey.lost)
        lease.require()
        _delete_packs(repository, survey, plan.deleted, progress)
        remove_marks(repository.store, [mark.id for mark in plan.due])
        lease.remove([other.id for other in survey.others if other.lapsed])
    return _result(
        repository, survey, plan, grace_s, began, repacked_bytes=written, merged_indexes=merged
    )


def _plan(survey: Survey, kept: dict[str, tuple[str, ...]], usage: Usage, grace_s: float) -> _Plan:
    old = tuple(mark for mark in survey.marks if _is_old(mark, survey, grace_s))
    due = tuple(mark for mark in old if not (mark.leases or frozenset()) & survey.alive)
    deleted = frozenset(pack for mark in due for pack in mark.packs) - usage.rescued
    fresh_from_s = min(
        (lease.started_s for lease in survey.others if not lease.lapsed), default=float("inf")
    )
    settled = {
        name
        for name, entry in survey.packs.items()
        if name not in survey.pending and entry.modified_s < fresh_from_s - _CLOCK_STEP_S
    }
    repacked: frozenset[str] = frozenset()
    if not survey.alive:
        repacked = worth_repacking(survey, usage, settled & usage.live_bytes.keys())
    return _Plan(
        kept=kept,
        removed=tuple(one.id for one in survey.snapshots if one.id not in kept),
        due=due,
        waiting=tuple(mark for mark in survey.marks if mark not in due),
        deleted=deleted,
        repacked=repacked,
        unused=frozenset(settled - usage.live_bytes.keys()) | repacked,
        waits_for=frozenset(
            id for mark in old for id in (mark.leases or frozenset()) & survey.alive
        ),
    )


def _is_old(mark: Mark, survey: Survey, grace_s: float) -> bool:
    return mark.leases is not None and survey.now_s - mark.written_s >= grace_s


def _remove_snapshots(repository: Repository, survey: Survey, ids: Sequence[str]) -> None:
    """Remove snapshots; that it was on purpose is written down first.

    Those that a backup or copy stored, and was killed before it named them as complete, are named.
    """
    there = {snapshot.id for snapshot in survey.snapshots}
    unnamed = there - survey.index.snapshots - survey.index.removed
    if ids or unnamed:
        part = IndexPart(snapshots=tuple(sorted(unnamed)), removed=tuple(ids))
        repository.put_index(part)
        repository.store.delete([f"snapshots/{id}" for id in ids])


def _delete_packs(
    repository: Repository, survey: Survey, packs: frozenset[str], progress: Progress
) -> None:
    if packs:
        size = megabytes(total_bytes(survey, packs))
        progress.stage(f"delete {counted(len(packs), 'pack')}, {size}, found unused before")
        repository.store.delete([pack_key(name) for name in sorted(packs)])


def _mark_unused(repository: Repository, lease: Lease, plan: _Plan) -> None:
    """Write down what is unused, and complete the marks of prunes that were killed."""
    marks = {mark.id: mark.packs for mark in plan.waiting if mark.leases is None}
    if plan.unused:
        marks[write_mark(repository.store, plan.unused)] = plan.unused
    if marks:
        alive = [other.id for other in lease.others() if not other.lapsed]
        for id, packs in marks.items():
            complete_mark(repository.store, id, packs, alive)


def _settled_indexes(repository: Repository, lease: Lease) -> set[str]:
    """The index objects that whoever wrote them has read back by now."""
    latest_s = lease.now_s() - _READ_BACK_S
    found = repository.store.listing("indexes/")
    return {entry.key.rpartition("/")[2] for entry in found if entry.modified_s <= latest_s}


def _result(
    repository: Repository,
    survey: Survey,
    plan: _Plan,
    grace_s: float,
    began: float,
    *,
    dry_run: bool = False,
    repacked_bytes: int = 0,
    merged_indexes: int = 0,
) -> PruneResult:
    pending = plan.unused.union(*(mark.packs for mark in plan.waiting))
    starts = [survey.now_s if mark.leases is None else mark.written_s for mark in plan.waiting]
    if plan.unused:
        starts.append(survey.now_s)
    until = datetime.fromtimestamp(min(starts) + grace_s, UTC) if starts else None
    return PruneResult(
        repository=repository.store.url,
        dry_run=dry_run,
        kept=tuple(KeptSnapshot(snapshot=id, rules=why) for id, why in sorted(plan.kept.items())),
        removed=plan.removed,
        deleted_packs=len(plan.deleted & survey.packs.keys()),
        deleted_bytes=total_bytes(survey, plan.deleted),
        repacked_packs=len(plan.repacked),
        repacked_bytes=repacked_bytes,
        marked_packs=len(plan.unused),
        marked_bytes=total_bytes(survey, plan.unused),
        pending_packs=len(pending & survey.packs.keys()),
        pending_bytes=total_bytes(survey, pending),
        pending_until=until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None,
        waits_for=tuple(describe_lease(repository.store, id) for id in sorted(plan.waits_for)),
        merged_indexes=merged_indexes,
        seconds=time.monotonic() - began,
    )
