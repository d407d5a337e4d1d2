"""What two sides make of the same cases: the records that are printed of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from modelyard.results.json_form import published

Side = Literal["a", "b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far B is from A over the cases of which both are known, with its 95% interval."""

    a: float | None
    """The mean of A over these cases: of times the geometric one. Null: no case says it."""
    b: float | None
    """The mean of B."""
    value: float | None
    """The difference B - A, or the ratio of B to A."""
    low: float | None
    """The low end; null: there are too few cases."""
    high: float | None
    """The high end."""
    n: int
    """Over how many cases it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCase:
    """A case that only one side has right."""

    check: str
    """The check."""
    case: str
    """The case."""
    question: str
    """What was asked."""
    right: Side
    """The side that has it right."""
    a: str | None
    """What A answered."""
    b: str | None
    """What B answered."""
    why: str
    """Why the other answer is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedResults:
    """What the cases say of two sides. A case that was asked several times is one."""

    pairs: int
    """Cases of which it is known for both sides whether they are right."""
    both: int
    """Cases that both have right."""
    only_a: int
    """Cases that only A has right."""
    only_b: int
    """Cases that only B has right."""
    neither: int
    """Cases that neither has right."""
    p_value: float
    """The chance that two equally good sides differ so much: by McNemar's exact test, or where
    the comparison may end early by a sequential one, at any of the pairs until the last one."""
    better: Side | None
    """The side that is right more often, at a level of 5%; null: it cannot be told."""
    pairs_needed: int | None
    """About how many cases would show a gap like this one in 8 of 10 tries, where it cannot be
    told; null: it is told, or there is no gap."""
    score: Gap
    """Difference of the weighted mean scores, by a paired bootstrap."""
    latency: Gap
    """Ratio of the times, of cases that a language model answered on both sides."""
    cost_usd: Gap
    """Difference of the mean costs of a request, by a paired bootstrap."""
    changed: tuple[ChangedCase, ...]
    """Every case that only one side has right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside its baseline; A is the baseline, and B the run."""

    baseline: int | None
    """The number of the baseline; null: it comes from a file that has none."""
    name: str
    """What messages call it, such as `run 12`."""
    target: str
    """What the baseline tested."""
    environment: str
    """Where."""
    started_at: str
    """When it began, UTC."""
    worse: bool
    """Whether the run is right less often than the baseline, at a level of 5%."""
    only_in_run: int
    """Cases that the baseline was not asked."""
    only_in_baseline: int
    """Cases that only the baseline was asked."""
    paired: PairedResults = field(metadata=published(inline=True))
    """The cases of both."""
    notes: tuple[str, ...]
    """What makes the two less alike than they should be."""
