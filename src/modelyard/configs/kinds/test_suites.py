"""A test suite: what a configuration is tested with, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelyard.configs.kinds.parts import BY_TESTS, Name, OneLine
from modelyard.settings.marks import Range, Reference
from modelyard.settings.units import DURATION, MONEY, SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyCheck:
    """Questions with known answers."""

    name: Name
    """What the report calls it."""
    dataset: Annotated[str, Reference("datasets")]
    """Dataset under datasets/."""
    split: Literal["train", "eval"] = "eval"
    """Which of its files; a model was trained on `train`, so that it proves nothing."""
    rows: Annotated[int, Range(1)] | None = None
    """Rows asked, drawn with the seed; default: all."""
    scorer: Literal["facts", "exact", "contains"] = "facts"
    """What is right: the row's expected facts, the same text, or a text that holds it."""
    accuracy: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least share of right answers; default: that of the thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests sent to measure latency and throughput."""

    requests: Annotated[int, Range(1)] = 50
    """Requests that are measured."""
    warm_up_requests: Annotated[int, Range(0)] = 3
    """Requests before them that are not measured."""
    concurrency: Annotated[int, Range(1, 1024)] = 1
    """Requests at a time."""
    timeout_s: Annotated[float, DURATION, Range(0.01, 3600)] = 60.0
    """A request that takes longer has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What must be reached; what is left out is measured only."""

    accuracy: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least share of right answers."""
    latency_p50_s: Annotated[float, DURATION, Range(0)] | None = None
    """Longest median time of an answer."""
    latency_p95_s: Annotated[float, DURATION, Range(0)] | None = None
    """Longest time of 95 in 100 answers."""
    cost_per_request_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Highest mean cost of a request."""
    error_rate: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Highest share of failed requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSuite:
    """What a configuration is tested with, and what it must reach."""

    __test__ = False  # pytest would take the name for one of its classes

    description: OneLine
    """What passing it shows, in one line."""
    checks: Annotated[tuple[AccuracyCheck, ...], BY_TESTS] = ()
    """Questions with known answers."""
    load: Annotated[Load, BY_TESTS] | None = None
    """Requests sent to measure latency; left out: none."""
    thresholds: Annotated[Thresholds, BY_TESTS] = field(default_factory=Thresholds)
    """What must be reached."""
    repeats: Annotated[int, Range(1, 100), BY_TESTS] = 1
    """Times the suite is run."""
    seed: Annotated[int, Range(0, 2**31), BY_TESTS] = 0
    """Seed of the rows drawn."""
    confidence: Annotated[float, SHARE, Range(0.5, 0.999), BY_TESTS] = 0.95
    """Confidence of the intervals; a threshold is breached when the whole interval is beyond."""
