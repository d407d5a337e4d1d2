"""The link in models/trained/ to the active version: moved in one rename, with its history.

The link is always right, and the history agrees with it: see `core.journal`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from modelyard.adapters.versions import AdapterVersion, active_number, adapter_lock
from modelyard.core.clock import utc_now
from modelyard.core.files import sweep_staging
from modelyard.core.journal import Journal
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state

_JOURNAL = Journal(
    table="pointer_moves",
    owner="adapter",
    order="sequence",
    points_to="to_version",
    link=Project.trained_link,
    target=Project.adapter_version,
)
_COLUMNS = ("adapter", "action", "from_version", "to_version", "reason", "moved_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class PointerMove:
    """One move of an adapter's link, a row of the history."""

    sequence: int | None
    """Its number among all moves in the project; None when nothing had to move."""
    adapter: str
    """The adapter's name."""
    action: str
    """`promote` or `rollback`."""
    from_version: int | None
    """The active version before; None for the first."""
    to_version: int
    """The active version after."""
    reason: str | None
    """Why, in the words of the user."""
    moved_at: str
    """When, UTC."""
    moved: bool = True
    """False when the version was already active, so that nothing changed."""


@contextmanager
def hold_pointer(project: Project, adapter: str, *, wait_s: float) -> Iterator[PointerMove | None]:
    """Hold an adapter's lock, after its history was brought into agreement with its link.

    Gives the move of a killed process that had moved the link, and whose row is settled now.
    Raises LockHeld when another process has the lock for longer than `wait_s` seconds.
    """
    link = project.trained_link(adapter)
    with adapter_lock(project, adapter, wait_s=wait_s):
        sweep_staging(link.parent, link.name)
        with open_state(project) as state:
            completed = _JOURNAL.recover(project, state, adapter)
        yield _as_move(completed) if completed else None


def move_pointer(
    project: Project, version: AdapterVersion, *, action: str, reason: str | None
) -> PointerMove:
    """Point the link at a version, and record the move; nothing when the version is active.

    Call it within `hold_pointer`.
    """
    move = plan_move(project, version.adapter, version.number, action=action, reason=reason)
    if not move.moved:
        return move
    row = {column: getattr(move, column) for column in _COLUMNS}
    with open_state(project) as state:
        return replace(move, sequence=_JOURNAL.move(project, state, row))


def plan_move(
    project: Project, adapter: str, number: int, *, action: str, reason: str | None
) -> PointerMove:
    """The move of the link to a version; changes nothing."""
    active = active_number(project, adapter)
    return PointerMove(
        sequence=None,
        adapter=adapter,
        action=action,
        from_version=active,
        to_version=number,
        reason=reason,
        moved_at=utc_now(),
        moved=active != number,
    )


def pointer_history(project: Project, adapter: str) -> list[PointerMove]:
    """Every move of an adapter's link, oldest first. Changes nothing.

    What a killed process left pending counts as moved when the link points there.
    """
    project.trained_link(adapter)  # checks the name
    newest = _JOURNAL.newest(project, adapter)
    query = "SELECT * FROM pointer_moves WHERE adapter = ? AND sequence <= ? ORDER BY sequence"
    rows = read_state(project, query, (adapter, newest["sequence"])) if newest else []
    return [_as_move(row) for row in rows]


def _as_move(row: sqlite3.Row) -> PointerMove:
    return PointerMove(sequence=row["sequence"], **{column: row[column] for column in _COLUMNS})
