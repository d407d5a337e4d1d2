"""What a performance test found: every case, the figures over them, and the verdict.

These records are what `models performance-test --json` prints and what is kept of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelyard.configs.kinds.test_suites import LOAD

__all__ = [
    "ERRORS",
    "GIVEN",
    "LOAD",
    "CaseOutcome",
    "CaseResult",
    "RunFigure",
    "RunRow",
    "TestRun",
    "Unit",
    "Verdict",
]

Verdict = Literal["pass", "breach", "cannot_tell"]
"""
pass: the whole interval keeps the threshold.
breach: the whole interval is beyond it.
cannot_tell: the threshold lies within the interval, or nothing was measured.
"""

CaseOutcome = Literal[
    "answered", "refused", "degraded", "nothing_found", "over_limit", "failed", "timeout"
]
"""
degraded: no language model answered, and what search found was quoted instead.
nothing_found: the domain answers only from what is found, and nothing was.
over_limit: a budget or a limit left no room, and nothing was called.
timeout: there was no answer within the time of the case.
"""

GIVEN: tuple[CaseOutcome, ...] = ("answered", "refused")
"""The outcomes of requests that a language model ended."""

ERRORS: tuple[CaseOutcome, ...] = ("degraded", "failed", "timeout")
"""The outcomes that are errors."""

Unit = Literal["share", "seconds", "usd", "per_second", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One question, asked once. None is unknown, and never 0."""

    check: str
    """The check of the suite that it belongs to; `load` for the requests of its load."""
    case: str
    """Identifies the case: 12 hex digits of the SHA-256 of check and question, the same in every
    run. A load request has the digits of its question."""
    repeat: int
    """Which of the repeats it was, from 0."""
    tags: tuple[str, ...] = ()
    """Its tags: those of the check and its own."""
    weight: float = 1.0
    """How much it counts in the accuracy."""
    question: str
    """What was asked."""
    expected: str = ""
    """What is right, as it is shown."""
    answer: str | None = None
    """The answer; None: there was none."""
    score: float | None = None
    """How good it is, 0 to 1; None: not scored."""
    right: bool | None = None
    """Whether it is right; None: not scored."""
    why: str = ""
    """Why it is wrong or there is no answer, in words."""
    outcome: CaseOutcome
    """How it ended."""
    model: str | None = None
    """The language model that answered."""
    latency_s: float | None = None
    """Seconds until the answer ended; None without one."""
    first_token_s: float | None = None
    """Seconds until it began."""
    cost_usd: float | None = None
    """What it cost."""
    prompt_tokens: int | None = None
    """Tokens that were sent."""
    output_tokens: int | None = None
    """Tokens that were answered."""
    judge_cost_usd: float | None = None
    """What judging it cost; None: nobody judged it, or it is unknown."""
    started_s: float
    """Seconds since the run began."""
    ended_s: float
    """Seconds since the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigure:
    """One figure over the cases of a run."""

    name: str
    """accuracy, score (the mean of the scores), accuracy_over_base (how much larger the accuracy is
    than that of the base), latency_p50, latency_p95, latency_p99, first_token_p50, requests_per_s,
    tokens_per_s, cost_per_request, cost_total or error_rate."""
    over: Literal["all", "check", "tag"] = "all"
    """Which cases it is over."""
    part: str | None = None
    """The check or the tag; None for all."""
    unit: Unit
    """What it is in."""
    value: float | None
    """The figure; None: nothing says it."""
    low: float | None = None
    """The low end of its interval."""
    high: float | None = None
    """The high end."""
    n: int = 0
    """How many cases it is over, or requests where each counts by itself."""
    right: int | None = None
    """Of an accuracy: how many answers are right."""
    scored: int | None = None
    """Of an accuracy: how many answers were scored, repeats included."""
    unknown: int = 0
    """How many requests are not in it, since nobody knows theirs."""
    threshold: float | None = None
    """What must be reached; None: it is measured only."""
    verdict: Verdict | None = None
    """What follows; None without a threshold."""
    more_needed: int | None = None
    """Of `cannot_tell`: about how many more cases would settle it, were the value right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """One run of a suite."""

    __test__ = False  # pytest would take the name for one of its classes

    number: int | None = None
    """Its number in this project; None: it is not kept."""
    suite: str
    """The suite."""
    suite_digest: str
    """12 hex digits of the SHA-256 of the suite as it was run and of its cases: equal in runs that
    asked the same."""
    environment: str
    """The environment."""
    config_revision: int | None = None
    """The revision that was live there; None: drafts."""
    target: str
    """What was tested: `profile:balanced`, `domain:x`, a model's reference, `primary`; of several,
    joined with ` + `."""
    models: tuple[str, ...] = ()
    """The language models that answered, the most frequent first."""
    started_at: str
    """When it began, UTC."""
    finished_at: str
    """When it ended, UTC."""
    complete: bool = True
    """Whether everything was asked; not so when it was interrupted or stopped."""
    stopped: str | None = None
    """What stopped it that is no fault of a model, such as a full disk."""
    seed: int
    """The seed of the rows drawn and of the answers."""
    repeats: int
    """Times that each case was asked."""
    concurrency: int
    """Requests at a time, of the load."""
    confidence: float
    """Confidence of the intervals."""
    wall_s: float
    """Seconds that it took."""
    requests: int
    """Requests that were made."""
    right: int
    """Answers that are right."""
    scored: int
    """Answers that were scored."""
    figures: tuple[RunFigure, ...]
    """The figures."""
    cases: tuple[CaseResult, ...]
    """Every request, in order of their beginning."""
    base_cases: tuple[CaseResult, ...] = ()
    """The same cases asked of the base, for checks that may not be worse than it."""
    machine: str
    """Where it ran: processor and cores."""
    version: str
    """The version of modelyard."""
    verdict: Verdict
    """breach: some threshold is breached. pass: all are kept. Else cannot_tell."""
    notes: tuple[str, ...] = ()
    """What a person should know, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A kept run, in a line."""

    number: int
    """Its number."""
    suite: str
    """The suite."""
    environment: str
    """The environment."""
    target: str
    """What was tested."""
    started_at: str
    """When it began, UTC."""
    complete: bool
    """Whether everything was asked."""
    verdict: Verdict
    """What came of it."""
    right: int
    """Answers that are right."""
    scored: int
    """Answers that were scored."""
