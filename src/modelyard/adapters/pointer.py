"""The link in models/trained/ to the active version: moved in one rename, with its history.

A move writes a pending row, moves the link, and settles the row. A process killed in between leaves
a pending row; the next move compares it with the link, and settles or deletes it, and a reader of
the history compares it too, and changes nothing. So the link is always right, and the history
follows it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from modelyard.adapters.versions import AdapterVersion, active_number, adapter_lock
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.files import replace_link, sweep_staging
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state

_MOVES = "SELECT * FROM pointer_moves WHERE adapter = ?"
_ALL_MOVES = f"{_MOVES} ORDER BY sequence"


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
            completed = _recover(project, state, adapter)
        yield completed


def move_pointer(
    project: Project, version: AdapterVersion, *, action: str, reason: str | None
) -> PointerMove:
    """Point the link at a version, and record the move; nothing when the version is active.

    Call it within `hold_pointer`.
    """
    move = plan_move(project, version.adapter, version.number, action=action, reason=reason)
    if not move.moved:
        return move
    with open_state(project) as state:
        inserted = state.execute(
            "INSERT INTO pointer_moves "
            "(adapter, action, from_version, to_version, reason, moved_at, settled) "
            "VALUES (:adapter, :action, :from_version, :to_version, :reason, :moved_at, 0)",
            asdict(move),
        )
        replace_link(project.trained_link(version.adapter), version.path)
        _settle(state, inserted.lastrowid)
    return replace(move, sequence=inserted.lastrowid)


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
    while True:
        rows = read_state(project, _ALL_MOVES, (adapter,))
        if all(row["settled"] for row in rows):
            return [_move(row) for row in rows]
        active = None
        with suppress(ModelyardError):  # a broken link stops moves, not readers
            active = active_number(project, adapter)
        if read_state(project, _ALL_MOVES, (adapter,)) == rows:
            return [_move(row) for row in rows if row["settled"] or row["to_version"] == active]


def _move(row: sqlite3.Row) -> PointerMove:
    return PointerMove(**{key: row[key] for key in set(row.keys()) - {"settled"}})


def _recover(project: Project, state: sqlite3.Connection, adapter: str) -> PointerMove | None:
    """Settle or delete what a killed process left pending; returns the move that was settled.

    Call it under the adapter's lock.
    """
    completed = None
    pending = state.execute(f"{_MOVES} AND settled = 0 ORDER BY sequence", (adapter,))
    for move in map(_move, pending.fetchall()):
        if active_number(project, adapter) == move.to_version:
            _settle(state, move.sequence)
            completed = move
        else:
            state.execute("DELETE FROM pointer_moves WHERE sequence = ?", (move.sequence,))
    return completed


def _settle(state: sqlite3.Connection, sequence: int | None) -> None:
    state.execute("UPDATE pointer_moves SET settled = 1 WHERE sequence = ?", (sequence,))
