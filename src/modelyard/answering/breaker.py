"""The breaker of a model: it is not called for a while after it failed several times in a row.

Closed, it lets every call through and counts failures in a row, of all processes of a project.
At `failure_threshold` it opens, and nothing is called. After `cool_down` it lets one call through,
the probe: when that succeeds it is closed, when that fails it is open for another cool-down. A
probe whose process died gives its place up after its lease.
Source: Nygard, Release It!, 2nd edition, 2018, chapter 5, Circuit Breaker.

In traffic.db there is a row for each model that failed last, and none for those in order: a call
that succeeds after others costs one read.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from modelyard.configs.kinds.integration import FallbackStrategy
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.monitoring.traffic_db import count_traffic, read_traffic

Clock = Callable[[], float]
"""Seconds since 1970."""

_PROBE_S = 120.0
"""The longest that a probe takes, where the caller does not say."""
_LONGEST_REASON = 200

_READ = "SELECT * FROM breakers WHERE name = ?"
_CLOSE = "DELETE FROM breakers WHERE name = ?"
_FAIL = """
INSERT INTO breakers (name, failures, reason, opened_at_ms) VALUES (:name, 1, :reason, NULL)
ON CONFLICT DO UPDATE SET failures = failures + 1, reason = excluded.reason
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a model may be called."""

    state: Literal["closed", "probe", "open"]
    """closed: it may. probe: this one call may, to try it. open: it may not."""
    failures: int = 0
    """Its failures in a row."""
    reason: str | None = None
    """Why the last one failed."""
    opened_at_s: float | None = None
    """Since when it is not called, in seconds since 1970."""
    retry_at_s: float | None = None
    """When it may be called next, as far as it is known."""

    @property
    def words(self) -> str:
        """Why it is not called: `breaker open since 12:03:11 UTC, 3 failures in a row: timeout`."""
        since = datetime.fromtimestamp(self.opened_at_s or 0, UTC)
        times = counted(self.failures, "failure")
        return f"breaker open since {since:%H:%M:%S} UTC, {times} in a row: {self.reason}"


CLOSED = Admission(state="closed")


def admit(
    project: Project,
    name: str,
    strategy: FallbackStrategy,
    *,
    lease_s: float = _PROBE_S,
    clock: Clock = time.time,
) -> Admission:
    """Ask whether a model may be called now; whoever is a probe then says how it went.

    name: the same in all processes, such as `production/gpt4`.
    lease_s: longer than the call takes: after it, the process of a probe is taken for dead.
    Whoever was admitted calls `record_success`, `record_failure`, or, where the call says nothing
    about the model, `record_nothing`. Where traffic.db cannot be written, failures count within
    this process. Raises ModelyardError when traffic.db is damaged.
    """
    seen = peek(project, name, strategy, clock=clock)
    if seen.state != "probe":
        return seen

    def take_place(traffic: sqlite3.Connection) -> Admission:
        now_s = clock()
        seen = _admission(traffic.execute(_READ, (name,)).fetchone(), strategy, now_s)
        if seen.state == "probe":
            ends_ms = math.ceil((now_s + lease_s) * 1000)
            query = "UPDATE breakers SET probe_ends_ms = ? WHERE name = ?"
            traffic.execute(query, (ends_ms, name))
        return seen

    return count_traffic(project, take_place)


def peek(
    project: Project, name: str, strategy: FallbackStrategy, *, clock: Clock = time.time
) -> Admission:
    """What `admit` would answer, without taking the place of the probe."""
    rows = read_traffic(project, _READ, (name,))
    return _admission(rows[0], strategy, clock()) if rows else CLOSED


def record_success(project: Project, name: str) -> None:
    """Say that a call gave an answer. Where it began before the breaker opened, that stays open."""
    rows = read_traffic(project, _READ, (name,))

    def close_breaker(traffic: sqlite3.Connection) -> None:
        row = traffic.execute(_READ, (name,)).fetchone()
        if row is not None and not _is_open_without_probe(row):
            traffic.execute(_CLOSE, (name,))

    if rows and not _is_open_without_probe(rows[0]):
        count_traffic(project, close_breaker)


def record_failure(
    project: Project,
    name: str,
    strategy: FallbackStrategy,
    reason: str,
    *,
    opens_at_once: bool = False,
    clock: Clock = time.time,
) -> Admission:
    """Say that a call failed, and that the model is at fault; returns what holds from now on.

    reason: in words, without secrets.
    opens_at_once: whether nothing helps until a person does something, such as a wrong key.
    """

    def fail(traffic: sqlite3.Connection) -> Admission:
        now_s = clock()
        traffic.execute(_FAIL, {"name": name, "reason": reason[:_LONGEST_REASON]})
        row = traffic.execute(_READ, (name,)).fetchone()
        opens = opens_at_once or row["failures"] >= strategy.failure_threshold
        # Calls that were under way when it opened do not lengthen the cool-down.
        if (opens and row["opened_at_ms"] is None) or row["probe_ends_ms"] is not None:
            query = "UPDATE breakers SET opened_at_ms = ?, probe_ends_ms = NULL WHERE name = ?"
            traffic.execute(query, (int(now_s * 1000), name))
        return _admission(traffic.execute(_READ, (name,)).fetchone(), strategy, now_s)

    return count_traffic(project, fail)


def close(project: Project, name: str) -> None:
    """Let a model be called again: somebody has just seen that it answers."""
    if read_traffic(project, _READ, (name,)):
        count_traffic(project, lambda traffic: traffic.execute(_CLOSE, (name,)))


def record_nothing(project: Project, name: str) -> None:
    """Say that a call ended and says nothing about the model, such as by ^C: another may probe."""
    if any(row["probe_ends_ms"] is not None for row in read_traffic(project, _READ, (name,))):
        query = "UPDATE breakers SET probe_ends_ms = NULL WHERE name = ?"
        count_traffic(project, lambda traffic: traffic.execute(query, (name,)))


def _is_open_without_probe(row: sqlite3.Row) -> bool:
    return row["opened_at_ms"] is not None and row["probe_ends_ms"] is None


def _admission(row: sqlite3.Row | None, strategy: FallbackStrategy, now_s: float) -> Admission:
    """What a row of the table means now."""
    if row is None or row["opened_at_ms"] is None:
        return CLOSED
    opened_at_s = row["opened_at_ms"] / 1000
    # What opened so far in the future did so before the clock was set back.
    is_possible = opened_at_s <= now_s + strategy.cool_down_s
    retry_at_s = opened_at_s + strategy.cool_down_s if is_possible else now_s
    probe_ends_s = (row["probe_ends_ms"] or 0) / 1000
    is_open = now_s < max(retry_at_s, probe_ends_s)
    return Admission(
        state="open" if is_open else "probe",
        failures=row["failures"],
        reason=row["reason"],
        opened_at_s=opened_at_s,
        retry_at_s=max(retry_at_s, probe_ends_s) if is_open else now_s,
    )
