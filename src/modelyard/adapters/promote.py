"""Which version is in use: the link in models/trained/, moved in one rename, with its history.

A move is a pending row, then the link, then the row settled. A process killed in between leaves a
pending row; the next move or reading of the history compares it with the link, and settles or
deletes it. So the link is always right, and the history follows it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from modelyard.adapters.gate import PromotionDecision, decide_promotion
from modelyard.adapters.manifest import DamagedVersion, require_intact
from modelyard.adapters.training_info import load_evaluation
from modelyard.adapters.versions import (
    AdapterVersion,
    active_number,
    adapter_lock,
    load_version,
)
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.files import replace_link, sweep_staging
from modelyard.core.layout import Yard
from modelyard.core.state import open_state

_READER_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PointerMove:
    """One move of an adapter's link, as the history keeps it."""

    sequence: int | None
    """Its place in the order of all moves in the yard; None when nothing had to move."""
    adapter: str
    """The adapter's name."""
    action: str
    """`promote` or `rollback`."""
    from_version: int | None
    """The version in use before; None for the first."""
    to_version: int
    """The version in use after."""
    reason: str | None
    """Why, in the words of whoever asked for it."""
    moved_at: str
    """When, UTC."""
    moved: bool = True
    """False when the version was in use already, so that nothing changed."""


def judge_promotion(yard: Yard, version: AdapterVersion) -> PromotionDecision:
    """Apply the gate to a version's recorded figures and those of the version in use."""
    number = active_number(yard, version.adapter)
    in_use = None
    if number is not None and number != version.number:
        try:
            current = load_version(yard, version.adapter, number)
            if current.manifest.base.fingerprint == version.manifest.base.fingerprint:
                in_use = load_evaluation(current.path)
        except DamagedVersion:
            pass  # what is broken cannot stand in the way of what is whole
    return decide_promotion(load_evaluation(version.path), in_use)


def promote_version(
    yard: Yard, version: AdapterVersion, *, reason: str | None = None, wait_s: float = 0.0
) -> PointerMove:
    """Bring a version into use: one rename and one row of history. Does not apply the gate.

    Raises DamagedVersion when its files are not as they were registered.
    """
    return _move_pointer(yard, version, action="promote", reason=reason, wait_s=wait_s)


def pointer_history(yard: Yard, adapter: str) -> list[PointerMove]:
    """Every move of an adapter's link, oldest first."""
    with open_state(yard) as state:
        if _rows(state, adapter, settled=False):
            # A move under way belongs to whoever makes it; a broken link stops moves, not readers.
            with suppress(ModelyardError), adapter_lock(yard, adapter, wait_s=_READER_WAIT_S):
                _recover(yard, state, adapter)
        return [
            PointerMove(**{name: row[name] for name in set(row.keys()) - {"settled"}})
            for row in _rows(state, adapter, settled=True)
        ]


def _move_pointer(
    yard: Yard, version: AdapterVersion, *, action: str, reason: str | None, wait_s: float
) -> PointerMove:
    adapter = version.adapter
    link = yard.trained_link(adapter)
    with adapter_lock(yard, adapter, wait_s=wait_s), open_state(yard) as state:
        sweep_staging(link.parent, link.name)
        _recover(yard, state, adapter)
        here = load_version(yard, adapter, version.number)
        require_intact(here.path, here.manifest)
        move = PointerMove(
            sequence=None,
            adapter=adapter,
            action=action,
            from_version=active_number(yard, adapter),
            to_version=version.number,
            reason=reason,
            moved_at=utc_now(),
        )
        if move.from_version == move.to_version:
            return replace(move, moved=False)
        inserted = state.execute(
            "INSERT INTO pointer_moves "
            "(adapter, action, from_version, to_version, reason, moved_at, settled) "
            "VALUES (:adapter, :action, :from_version, :to_version, :reason, :moved_at, 0)",
            asdict(move),
        )
        move = replace(move, sequence=inserted.lastrowid)
        replace_link(link, version.path)
        _settle(state, move.sequence)
    return move


def _rows(state: sqlite3.Connection, adapter: str, *, settled: bool) -> list[sqlite3.Row]:
    return state.execute(
        "SELECT * FROM pointer_moves WHERE adapter = ? AND settled = ? ORDER BY sequence",
        (adapter, settled),
    ).fetchall()


def _recover(yard: Yard, state: sqlite3.Connection, adapter: str) -> None:
    """Settle or delete what a killed process left pending. Call it under the adapter's lock."""
    for row in _rows(state, adapter, settled=False):
        if active_number(yard, adapter) == row["to_version"]:
            _settle(state, row["sequence"])
        else:
            state.execute("DELETE FROM pointer_moves WHERE sequence = ?", (row["sequence"],))


def _settle(state: sqlite3.Connection, sequence: int | None) -> None:
    state.execute("UPDATE pointer_moves SET settled = 1 WHERE sequence = ?", (sequence,))
