"""The figures of a period: hours from the roll-ups, and what is no whole hour from the samples."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modelyard.monitoring.chosen_answers import Chosen
from modelyard.monitoring.histogram import Histogram, bucket_of, pack_counts
from modelyard.monitoring.rollups import HOUR_MS, SUMS_COLUMNS, Sums

GroupBy = Literal["org", "model", "adapter", "profile", "domain", "variant"]

GROUP_COLUMNS: Mapping[GroupBy, str] = {
    "org": "organisation",
    "model": "coalesce(language_model, model)",
    "adapter": "CASE WHEN instr(model, '@') THEN model END",
    "profile": "profile",
    "domain": "domain",
    "variant": "variant",
}
"""What a group is, of a sample or a roll-up."""

_SAMPLES_SUFFICE_MS = 6 * HOUR_MS
"""A period up to this long is read from the samples themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A time, in milliseconds since 1970, in pieces of equal length."""

    start_ms: int
    """Its first millisecond."""
    end_ms: int
    """The first one after it."""
    pieces: int = 1
    """How many pieces it has."""

    def piece_at(self, at_ms: int) -> int:
        """The piece that a time is in; what is a little beyond an end is in the last one."""
        piece = (at_ms - self.start_ms) * self.pieces // (self.end_ms - self.start_ms)
        return min(max(piece, 0), self.pieces - 1)


@dataclass(slots=True)
class Totals:
    """The figures of the requests of a period, by how they ended."""

    outcomes: dict[str, Sums] = field(default_factory=dict)
    latencies: dict[str, list[bytes]] = field(default_factory=dict)

    def sums(self, outcomes: Iterable[str] | None = None) -> Sums:
        """The sums of the requests that ended so; None: of all."""
        total = Sums()
        for outcome in self.outcomes if outcomes is None else outcomes:
            if outcome in self.outcomes:
                total.add(self.outcomes[outcome])
        return total

    def requests(self, *outcomes: str) -> int:
        """How many requests ended so; of all where no outcome is named."""
        return self.sums(outcomes or None).requests

    def histogram(self, outcomes: Iterable[str]) -> Histogram:
        """The latencies of the requests that ended so."""
        return Histogram(
            packed for outcome in outcomes for packed in self.latencies.get(outcome, ())
        )

    def add(self, outcome: str, sums: Sums, packed: bytes) -> None:
        """Add requests that ended so."""
        self.outcomes.setdefault(outcome, Sums()).add(sums)
        self.latencies.setdefault(outcome, []).append(packed)

    def merge(self, other: Totals) -> None:
        """Add those of other requests."""
        for outcome, sums in other.outcomes.items():
            self.outcomes.setdefault(outcome, Sums()).add(sums)
            self.latencies.setdefault(outcome, []).extend(other.latencies[outcome])


Figures = dict[str | None, list[Totals]]
"""By group, a Totals for each piece of the period; without groups, there is one: None."""


def read_period(
    traffic: sqlite3.Connection, chosen: Chosen, period: Period, by: GroupBy | None = None
) -> Figures:
    """The figures of the chosen answers, from a connection that `open_traffic` gave.

    Above 6 hours those of whole hours come from the roll-ups; the hour that the period ends in
    counts whole, since it ends now.
    """
    figures: Figures = {} if by else {None: [Totals() for _ in range(period.pieces)]}
    for row in _rows(traffic, chosen, period, GROUP_COLUMNS[by] if by else "NULL"):
        at_ms, group, outcome, packed, *sums = row
        if group not in figures:
            figures[group] = [Totals() for _ in range(period.pieces)]
        figures[group][period.piece_at(at_ms)].add(outcome, Sums(*sums), packed)
    return figures


def _rows(
    traffic: sqlite3.Connection, chosen: Chosen, period: Period, group: str
) -> Iterator[tuple[Any, ...]]:
    """Time, group, outcome, packed latencies and sums of some answers, each of which has these."""
    hours, samples = _split(period, _exact_from_ms(traffic))
    if hours:
        query = (
            f"SELECT hour * {HOUR_MS} + {HOUR_MS // 2}, {group}, outcome, latencies, "
            f"{SUMS_COLUMNS} FROM rollups WHERE hour >= ? AND hour < ? AND {chosen.condition}"
        )
        values: tuple[int | str, ...] = (hours.start, hours.stop, *chosen.values)
        yield from map(tuple, traffic.execute(query, values))
    query = (
        f"SELECT answered_at_ms, {group}, outcome, latency_s, cost_usd, prompt_tokens, "
        "output_tokens FROM samples WHERE answered_at_ms >= ? AND answered_at_ms < ? "
        f"AND kind = 'answer' AND parent_id IS NULL AND {chosen.condition}"
    )
    values = (samples.start, samples.stop, *chosen.values)
    for at_ms, name, outcome, latency_s, *counted in traffic.execute(query, values):
        sums = Sums()
        sums.count(*counted)
        yield at_ms, name, outcome, pack_counts({bucket_of(latency_s): 1}), *sums.values()


def _split(period: Period, exact_from_ms: int) -> tuple[range, range]:
    """The hours that are read from roll-ups, and the milliseconds that are read from samples.

    Samples are missing before `exact_from_ms`, a whole hour: where the period begins before it, the
    hour that it begins in counts whole.
    """
    first, end = -(-period.start_ms // HOUR_MS), -(-period.end_ms // HOUR_MS)
    is_missing = period.start_ms < exact_from_ms
    if is_missing:
        first = period.start_ms // HOUR_MS
    if period.end_ms - period.start_ms > _SAMPLES_SUFFICE_MS:
        samples_end_ms = period.start_ms if is_missing else first * HOUR_MS
        return range(first, end), range(period.start_ms, samples_end_ms)
    if is_missing:
        return range(first, exact_from_ms // HOUR_MS), range(exact_from_ms, period.end_ms)
    return range(0), range(period.start_ms, period.end_ms)


def _exact_from_ms(traffic: sqlite3.Connection) -> int:
    (exact_from_ms,) = traffic.execute("SELECT max(exact_from_ms) FROM retention").fetchone()
    return exact_from_ms or 0
