"""The two variants of an A/B test beside each other: which one is better, and how sure that is.

Nobody asks both variants the same, so pairs are made by time: an answer of one side goes with one
of the other from about then, and an hour in which everything is slow or wrong is in both. When the
variants are equally good each side of a pair is as likely to be the better one, which is all that
the sequential test of `evaluation` relies on, so it may be looked at at any time.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.monitoring.chosen_answers import Chosen

Side = Literal["a", "b"]

_SIDES: tuple[Side, Side] = ("a", "b")
_Event = tuple[Side, bool]
"""Whose it is, and whether it is good."""
_WAITING = 16
"""So many of one side wait for the other; older ones are left out, for they are of another time."""
_ERRORS = ("failed", "degraded")
_TRIED = ("answered", "refused", *_ERRORS)
_RATED = (
    "SELECT answer_id, rating FROM feedback WHERE rating IS NOT NULL "
    "AND answer_id IS NOT NULL AND statement IS NULL ORDER BY id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantTold:
    """What a sequential test says of two variants."""

    pairs: int
    """Pairs so far: about as many as the side with fewer has."""
    only_a: int
    """Pairs of which only that of A is good."""
    only_b: int
    """Pairs of which only that of B is good."""
    p_value: float
    """The chance that equal variants would ever look so different."""
    better: Side | None
    """The better one, at a level of 5%; null: it cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCounts:
    """What was asked of one variant since its test began."""

    requests: int
    """Requests that reached a model and were waited for."""
    errors: int
    """Requests that no language model answered."""
    rated: int
    """Answers that people rated."""
    good: int
    """Answers that they rated good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsCompared:
    """An A/B test so far. Samples that are no longer kept are not in it."""

    test: str
    """Its name."""
    a: VariantCounts
    """The first variant."""
    b: VariantCounts
    """The second."""
    ratings: VariantTold
    """Which one is rated good more often."""
    errors: VariantTold
    """Which one has fewer errors; good is a request without one."""


def compare_variants(
    project: Project, traffic: sqlite3.Connection, chosen: Chosen, test: str
) -> VariantsCompared:
    """Compare the variants of a test over all that is kept of it, on a connection to read from."""
    query = (
        "SELECT answer_id, variant, outcome FROM samples WHERE kind = 'answer' "
        f"AND variant IN (?, ?) AND {chosen.condition} ORDER BY answered_at_ms, answer_id"
    )
    side_of: dict[str, Side] = {}
    requests: list[_Event] = []
    values = (f"{test}/a", f"{test}/b", *chosen.values)
    for answer_id, variant, outcome in traffic.execute(query, values):
        side: Side = "a" if variant == values[0] else "b"
        side_of[answer_id] = side
        if outcome in _TRIED:
            requests.append((side, outcome not in _ERRORS))
    latest = {
        answer_id: rating == "good"
        for answer_id, rating in read_state(project, _RATED, ())
        if answer_id in side_of
    }
    rated = [(side_of[answer_id], good) for answer_id, good in latest.items()]
    a, b = (
        VariantCounts(
            requests=sum(one == side for one, _ in requests),
            errors=requests.count((side, False)),
            rated=sum(one == side for one, _ in rated),
            good=rated.count((side, True)),
        )
        for side in _SIDES
    )
    return VariantsCompared(
        test=test,
        a=a,
        b=b,
        ratings=_told(rated),
        errors=_told(requests),
    )


def _told(events: Iterable[_Event]) -> VariantTold:
    """What pairs say of events in the order of time. Whether one is used depends on none."""
    from modelyard.evaluation.sequential import Sequential  # numpy is slow to load

    test = Sequential()
    waiting: dict[Side, deque[bool]] = {side: deque(maxlen=_WAITING) for side in _SIDES}
    for side, good in events:
        waiting[side].append(good)
        if all(waiting.values()):
            test.add(*(waiting[each].popleft() for each in _SIDES))
    return VariantTold(
        pairs=test.pairs,
        only_a=test.only_a,
        only_b=test.only_b,
        p_value=test.p_value,
        better=test.better,
    )
