"""Retention: old samples go, by their age and by the size of traffic.db; their roll-ups stay.

Whole hours go, the oldest first, so that what is read of a time is exact from some hour on, and
before it as the roll-ups have it. That hour is stored before the first sample goes: a process that
is killed leaves samples that nothing is read from, and the next one removes them. Samples of
answers that people rated stay, since accuracy is read from them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import SampleRetention
from modelyard.core.database import transaction
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.monitoring.fold import fold
from modelyard.monitoring.rollups import HOUR_MS
from modelyard.monitoring.traffic_db import TRAFFIC

_AT_ONCE = 20_000
_EVERY_MS = HOUR_MS
_KEPT_SHARE = 0.9
"""Of the largest size, how much is left: else every call would remove a little."""
_ROUNDS = 8
_ALL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed."""

    samples: int
    """Samples, calls included."""
    bytes: int
    """How much smaller traffic.db is."""


def apply_retention(
    project: Project, environment: str, retention: SampleRetention, *, now_ms: int
) -> Removed:
    """Remove samples of the environment that are too old, and of all when the file is too large.

    Looks at the age once an hour, and at the size each time. Raises ModelyardError when traffic.db
    is damaged or cannot be written.
    """
    nothing = Removed(samples=0, bytes=0)
    if not project.traffic_db.exists():
        return nothing
    with TRAFFIC.open(project) as traffic:
        size = _size(traffic)
        if size <= retention.size_bytes and not _is_due(traffic, environment, now_ms):
            return nothing
    try:
        with exclusive_lock(project.lock("traffic", "retention"), what="removal of samples"):
            return _apply(project, environment, retention, size, now_ms)
    except LockHeld:
        return nothing  # another process is at it


def _apply(
    project: Project, environment: str, retention: SampleRetention, size: int, now_ms: int
) -> Removed:
    fold(project)
    with TRAFFIC.open(project) as traffic:
        _list_rated(project, traffic)
        cutoff_ms = (now_ms - int(retention.age_s * 1000)) // HOUR_MS * HOUR_MS
        _set_exact_from(traffic, environment, cutoff_ms, now_ms)
        removed = _remove(traffic, cutoff_ms, environment)
        removed += _shrink(traffic, retention.size_bytes, now_ms)
        free = _size(traffic) - _used(traffic)
    if free:
        TRAFFIC.give_back(project)
    with TRAFFIC.open(project) as traffic:
        return Removed(samples=removed, bytes=max(0, size - _size(traffic)))


def _is_due(traffic: sqlite3.Connection, environment: str, now_ms: int) -> bool:
    query = "SELECT applied_at_ms FROM retention WHERE environment = ?"
    row = traffic.execute(query, (environment,)).fetchone()
    # A clock that was set back says that it is due, too.
    return row is None or not 0 <= now_ms - row["applied_at_ms"] < _EVERY_MS


def _set_exact_from(
    traffic: sqlite3.Connection, environment: str, cutoff_ms: int, now_ms: int
) -> None:
    """Store from when on samples are there: never earlier than before, unless that is to come."""
    with transaction(traffic):
        query = "SELECT exact_from_ms FROM retention WHERE environment = ?"
        row = traffic.execute(query, (environment,)).fetchone()
        before = min(row["exact_from_ms"], now_ms // HOUR_MS * HOUR_MS) if row else 0
        traffic.execute(
            "INSERT OR REPLACE INTO retention VALUES (?, ?, ?)",
            (environment, max(before, cutoff_ms), now_ms),
        )


def _list_rated(project: Project, traffic: sqlite3.Connection) -> None:
    traffic.execute("CREATE TEMP TABLE rated (answer_id TEXT PRIMARY KEY) WITHOUT ROWID")
    rows = read_state(
        project, "SELECT DISTINCT answer_id FROM feedback WHERE answer_id IS NOT NULL"
    )
    traffic.executemany("INSERT INTO rated VALUES (?)", map(tuple, rows))


def _remove(traffic: sqlite3.Connection, cutoff_ms: int, environment: str | None) -> int:
    """Remove the samples before a time, of an environment or of all, in pieces."""
    condition = "true"
    values = () if environment is None else (environment,)
    if environment is not None:
        condition = "environment = ?"
        if environment == DEFAULT_ENVIRONMENT:
            condition = f"({condition} OR environment IS NULL)"
    query = (
        "SELECT answered_at_ms, rowid FROM samples WHERE (answered_at_ms, rowid) > (?, ?) AND "
        f"answered_at_ms >= ? AND answered_at_ms < ? AND {condition} AND NOT (kind = 'answer' AND "
        "answer_id IN (SELECT answer_id FROM rated)) ORDER BY answered_at_ms, rowid LIMIT ?"
    )
    removed, last = 0, (0, 0)
    while rows := traffic.execute(query, (*last, last[0], cutoff_ms, *values, _AT_ONCE)).fetchall():
        with transaction(traffic):
            traffic.executemany(
                "DELETE FROM samples WHERE answered_at_ms = ? AND rowid = ?", map(tuple, rows)
            )
        removed, last = removed + len(rows), (rows[-1][0], rows[-1][1])
    return removed


def _shrink(traffic: sqlite3.Connection, most_bytes: int, now_ms: int) -> int:
    """Remove the oldest samples of all environments until the rest fits; this hour's stay."""
    removed = 0
    this_hour = now_ms // HOUR_MS * HOUR_MS
    wanted = most_bytes if _used(traffic) <= most_bytes else int(most_bytes * _KEPT_SHARE)
    for _ in range(_ROUNDS):
        used = _used(traffic)
        if used <= wanted:
            break
        (count,) = traffic.execute("SELECT count(*) FROM samples").fetchone()
        surplus = -(-count * (used - wanted) // used)
        row = traffic.execute(
            "SELECT answered_at_ms FROM samples ORDER BY answered_at_ms LIMIT 1 OFFSET ?",
            (min(surplus, count - 1),),
        ).fetchone()
        if row is None:
            break
        cutoff_ms = min((row["answered_at_ms"] // HOUR_MS + 1) * HOUR_MS, this_hour)
        _set_exact_from(traffic, _ALL, cutoff_ms, now_ms)
        gone = _remove(traffic, cutoff_ms, None)
        if not gone:
            break
        removed += gone
    return removed


def _used(traffic: sqlite3.Connection) -> int:
    """Bytes of the file that something is in."""
    return _size(traffic) - _pages(traffic, "freelist_count")


def _size(traffic: sqlite3.Connection) -> int:
    return _pages(traffic, "page_count")


def _pages(traffic: sqlite3.Connection, what: str) -> int:
    (pages,) = traffic.execute(f"PRAGMA {what}").fetchone()
    (size,) = traffic.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)
