"""Roll-ups: the answers of each hour in a few rows of traffic.db, from which long periods are read.

They are made in the transaction that brings samples into traffic.db, so each sample is in them
once. Calls, and answers that another answer needed, are in no roll-up: what they took and cost is
in the figures of that one. Nor is what a performance test asked.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from modelyard.monitoring.histogram import bucket_of, pack_counts, unpack_counts
from modelyard.records.sample import FIELDS, Sample

HOUR_MS = 3_600_000
KEYS = (
    *("environment", "organisation", "domain", "profile", "variant", "language_model", "model"),
    "outcome",
)
"""What the answers of one row have in common, beside the hour."""
_SUMS = (
    *("requests", "costs", "cost_usd", "cost_squared"),
    *("token_counts", "prompt_tokens", "output_tokens"),
)
_COLUMNS = ("hour", *KEYS, *_SUMS, "latencies")
_AT_ONCE = 20_000
_key = attrgetter(*KEYS)
_Key = tuple[int, *tuple[str | None, ...]]


@dataclass(slots=True)
class Sums:
    """The figures of some answers, which can be added up."""

    requests: int = 0
    """How many there are."""
    costs: int = 0
    """Of how many the cost is known."""
    cost_usd: float = 0.0
    """The sum of these costs."""
    cost_squared: float = 0.0
    """The sum of their squares."""
    token_counts: int = 0
    """Of how many the tokens are known."""
    prompt_tokens: int = 0
    """The sum of the tokens that were sent in them."""
    output_tokens: int = 0
    """The sum of the tokens of these answers."""

    def add(self, other: Sums) -> None:
        """Add those of other answers."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def values(self) -> tuple[float, ...]:
        """All of them, in their order."""
        return tuple(getattr(self, name) for name in _SUMS)

    def count(
        self, cost_usd: float | None, prompt_tokens: int | None, output_tokens: int | None
    ) -> None:
        """Add one answer."""
        self.requests += 1
        if cost_usd is not None:
            self.costs += 1
            self.cost_usd += cost_usd
            self.cost_squared += cost_usd * cost_usd
        if prompt_tokens is not None and output_tokens is not None:
            self.token_counts += 1
            self.prompt_tokens += prompt_tokens
            self.output_tokens += output_tokens


SUMS_COLUMNS = ", ".join(_SUMS)
"""The columns that `Sums` is made of, in its order."""


@dataclass(slots=True)
class _Row:
    """A row to be: sums, and how many times are in each bucket."""

    sums: Sums = field(default_factory=Sums)
    latencies: Counter[int] = field(default_factory=Counter)


def add_to_rollups(traffic: sqlite3.Connection, samples: Iterable[Sample]) -> None:
    """Add samples to the roll-ups, in a transaction of the caller."""
    rows = _rolled_up(samples)
    present = _rows_of_hours(traffic, {key[0] for key in rows})
    changed, new = [], {}
    for key, row in rows.items():
        if key not in present:
            new[key] = row
            continue
        rowid, before = present[key]
        row.sums.add(before.sums)
        row.latencies.update(before.latencies)
        changed.append((*_values(row), rowid))
    places = ", ".join(f"{name} = ?" for name in (*_SUMS, "latencies"))
    traffic.executemany(f"UPDATE rollups SET {places} WHERE rowid = ?", changed)
    _insert(traffic, new, into="rollups")


def insert_rollups(traffic: sqlite3.Connection, samples: Iterable[Sample], *, into: str) -> None:
    """Add the roll-ups of samples as rows of their own to a table that has the columns."""
    _insert(traffic, _rolled_up(samples), into=into)


def has_earlier(traffic: sqlite3.Connection) -> bool:
    """Whether an earlier version brought in samples that are in no roll-up yet."""
    query = "SELECT 1 FROM rollup_backlog WHERE after_rowid < last_rowid"
    return traffic.execute(query).fetchone() is not None


def roll_up_earlier(traffic: sqlite3.Connection) -> None:
    """Roll up some of these samples, in a transaction of the caller."""
    samples, end = _earlier(traffic)
    add_to_rollups(traffic, samples)
    traffic.execute("UPDATE rollup_backlog SET after_rowid = ?", (end,))


def insert_earlier(traffic: sqlite3.Connection, *, into: str) -> None:
    """Add the roll-ups of all samples of an earlier version to another table."""
    after = None
    while True:
        samples, after = _earlier(traffic, after)
        if not samples:
            return
        insert_rollups(traffic, samples, into=into)


def _earlier(traffic: sqlite3.Connection, after: int | None = None) -> tuple[list[Sample], int]:
    """Some samples that an earlier version folded, which are in no roll-up, and the last row."""
    start, last = traffic.execute("SELECT after_rowid, last_rowid FROM rollup_backlog").fetchone()
    rows = traffic.execute(
        f"SELECT rowid, {', '.join(FIELDS)} FROM main.samples WHERE rowid > ? AND rowid <= ? "
        "ORDER BY rowid LIMIT ?",
        (start if after is None else after, last, _AT_ONCE),
    ).fetchall()
    samples = [Sample(**dict(zip(FIELDS, row[1:], strict=True))) for row in rows]
    return samples, rows[-1][0] if rows else last


def _rolled_up(samples: Iterable[Sample]) -> dict[_Key, _Row]:
    rows: dict[_Key, _Row] = {}
    for sample in samples:
        if sample.kind != "answer" or sample.parent_id is not None:
            continue
        key = (sample.answered_at_ms // HOUR_MS, *_key(sample))
        row = rows.get(key)
        if row is None:
            row = rows[key] = _Row()
        row.sums.count(sample.cost_usd, sample.prompt_tokens, sample.output_tokens)
        row.latencies[bucket_of(sample.latency_s)] += 1
    return rows


def _rows_of_hours(
    traffic: sqlite3.Connection, hours: Iterable[int]
) -> dict[_Key, tuple[int, _Row]]:
    """The rows of these hours that are there, each with its rowid."""
    present: dict[_Key, tuple[int, _Row]] = {}
    query = f"SELECT rowid, {', '.join(_COLUMNS)} FROM rollups WHERE hour = ?"
    for hour in hours:
        for rowid, *values in traffic.execute(query, (hour,)):
            key, sums = values[: 1 + len(KEYS)], values[1 + len(KEYS) : -1]
            present[tuple(key)] = rowid, _Row(Sums(*sums), unpack_counts(values[-1]))
    return present


def _insert(traffic: sqlite3.Connection, rows: Mapping[_Key, _Row], *, into: str) -> None:
    places = ", ".join("?" * len(_COLUMNS))
    insert = f"INSERT INTO {into} ({', '.join(_COLUMNS)}) VALUES ({places})"
    traffic.executemany(insert, ((*key, *_values(row)) for key, row in rows.items()))


def _values(row: _Row) -> tuple[int | float | bytes, ...]:
    return (*row.sums.values(), pack_counts(row.latencies))
