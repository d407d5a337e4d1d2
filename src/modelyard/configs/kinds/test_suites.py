"""A test suite: what a configuration is tested with, and what it must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from modelyard.configs.kinds.parts import Name, OneLine
from modelyard.settings.marks import Pattern, Range, Reference
from modelyard.settings.units import DURATION, MONEY, SHARE

Scorer = Literal[
    "facts",
    "exact",
    "contains",
    "regex",
    "json_schema",
    "numeric",
    "similarity",
    "citations",
    "refusal",
    "label",
    "judge",
]

LOAD = "load"
"""What results call the requests of a load; no check is called so."""

Text = Annotated[str, Pattern("a text", r"[\s\S]*\S[\s\S]*")]
Weight = Annotated[float, Range(0.01, 1000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCase:
    """A question with what is right, written in the suite itself."""

    question: Text
    """What is asked."""
    answer: str | None = None
    """A right answer, which exact, contains, numeric, similarity and judge compare with."""
    expect: tuple[tuple[Text, ...], ...] = ()
    """facts: of each group, one text must occur in the answer."""
    label: str | None = None
    """label: the right one."""
    pattern: str | None = None
    """regex: its own pattern, instead of that of the check."""
    schema: Mapping[str, Any] | None = None
    """json_schema: its own schema, instead of that of the check."""
    sources: tuple[Text, ...] = ()
    """citations: the files that hold the answer, as paths of the project or patterns of them."""
    tags: tuple[Name, ...] = ()
    """Tags beside those of the check."""
    weight: Weight = 1.0
    """How much it counts, times the weight of the check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyCheck:
    """Questions with known answers: a dataset, or cases written here."""

    name: Name
    """What the report calls it."""
    dataset: Annotated[str, Reference("datasets")] | None = None
    """Dataset under datasets/; its rows say what is right as cases do."""
    cases: tuple[SuiteCase, ...] = ()
    """The questions, instead of a dataset."""
    split: Literal["train", "eval"] = "eval"
    """Which of its files; a model was trained on `train`, so that it proves nothing."""
    rows: Annotated[int, Range(1)] | None = None
    """Rows asked, drawn with the seed; default: all."""
    domain: Annotated[str, Reference("specialized_models")] | None = None
    """The domain that is asked; default: what is tested."""
    scorer: Scorer = "facts"
    """How an answer is scored; see docs/performance-tests.md."""
    pattern: str | None = None
    """regex: what must be found in the answer."""
    schema: Mapping[str, Any] | None = None
    """json_schema: the JSON Schema that the answer must meet."""
    tolerance: Annotated[float, SHARE, Range(0, 1)] = 0.0
    """numeric: how far from the right number is right, as a share of it."""
    least_similarity: Annotated[float, SHARE, Range(0, 1)] = 0.8
    """similarity: least cosine with the right answer."""
    citation: Literal["named", "first"] = "named"
    """citations: the answer must name a right source, or a right source must be found first."""
    judge: Annotated[str, Reference("language_models")] | None = None
    """judge: the language model that judges."""
    rubric: Text | None = None
    """judge: what makes an answer right, in words; left out: that it says what is right."""
    least_grade: Annotated[float, SHARE, Range(0, 1)] = 0.75
    """judge: least grade that is right; the judge gives 1 to 5, which is 0% to 100%."""
    tags: tuple[Name, ...] = ()
    """Tags of all its cases; the report has figures for each tag."""
    weight: Weight = 1.0
    """How much each of its cases counts in the accuracy of the suite."""
    timeout_s: Annotated[float, DURATION, Range(0.01, 3600)] = 120.0
    """A case without an answer after this time is wrong."""
    accuracy: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least share of right answers of this check; default: none of its own."""
    not_worse_than: Literal["base"] | None = None
    """Also ask the base of the local model that is tested, which may not be better by more than
    `margin`."""
    margin: Annotated[float, SHARE, Range(0, 1)] = 0.05
    """How much worse than the base is still not worse."""


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
    checks: tuple[AccuracyCheck, ...] = ()
    """Questions with known answers."""
    load: Load | None = None
    """Requests sent to measure latency, with questions of the checks, else with some that any model
    can answer; left out: none."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """What must be reached."""
    repeats: Annotated[int, Range(1, 100)] = 1
    """Times the suite is run."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Seed of the rows drawn."""
    confidence: Annotated[float, SHARE, Range(0.5, 0.999)] = 0.95
    """Confidence of the intervals; a threshold is breached when the whole interval is beyond."""
