"""Which snapshots are kept: the newest of each day, week and month, for each kind of snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.backup.manifest import Snapshot
from modelyard.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many snapshots are kept; what no rule keeps is removed."""

    last: int = 0
    """The newest ones."""
    daily: int = 0
    """The newest of a day (UTC), for as many days that have any."""
    weekly: int = 0
    """The newest of a week of ISO 8601, for as many weeks that have any."""
    monthly: int = 0
    """The newest of a month, for as many months that have any."""
    tag: str | None = None
    """Only snapshots with this tag are looked at, and all others kept; None: all are."""

    def __post_init__(self) -> None:
        if min(self.last, self.daily, self.weekly, self.monthly) < 0:
            raise InvalidInput("a number of snapshots to keep is below 0")
        if not any((self.last, self.daily, self.weekly, self.monthly)):
            raise InvalidInput(
                "nothing says which snapshots to keep",
                hint="such as --keep-daily 7 --keep-weekly 4 --keep-monthly 12",
            )


_Period = Callable[[datetime], object]
_PERIODS: Mapping[str, _Period] = {
    "daily": datetime.date,
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
}


def kept_snapshots(snapshots: Sequence[Snapshot], keep: Keep) -> dict[str, tuple[str, ...]]:
    """The ids of the snapshots that are kept, each with the rules that keep it.

    Snapshots of different machines, project folders or selections do not stand for each other: a
    snapshot of one adapter never takes the place of one of everything. So nothing is lost by two
    machines that share a repository, or a second snapshot on the same day.
    """
    reasons: dict[str, list[str]] = {}
    kinds = defaultdict(list)
    for snapshot in snapshots:
        if keep.tag is not None and snapshot.tag != keep.tag:
            reasons[snapshot.id] = ["has another tag" if snapshot.tag else "has no tag"]
        else:
            kinds[snapshot.host, snapshot.project, snapshot.selection].append(snapshot)
    for alike in kinds.values():
        # An id may say a time a little ahead, where several were made within a second.
        newest_first = sorted(alike, key=lambda one: (one.created_at, one.id), reverse=True)
        for snapshot in newest_first[: keep.last]:
            reasons.setdefault(snapshot.id, []).append("last")
        for rule, period in _PERIODS.items():
            seen: set[object] = set()
            for snapshot in newest_first:
                found = period(datetime.fromisoformat(snapshot.created_at))
                if found not in seen and len(seen) < getattr(keep, rule):
                    seen.add(found)
                    reasons.setdefault(snapshot.id, []).append(rule)
    return {id: tuple(why) for id, why in reasons.items()}
