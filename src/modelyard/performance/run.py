"""One run of a suite: every case and the load, asked of a target, scored and judged."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.answering.answer import Answerer
from modelyard.core.layout import Project
from modelyard.deployments.effective import Effective
from modelyard.performance.cases import Case, Suite
from modelyard.performance.results import CaseResult, TestRun
from modelyard.performance.targets import Target

OnCase = Callable[[CaseResult], None]
"""Is told each request when it has ended; calls come from one thread at a time."""


def run_suite(
    project: Project,
    answerer: Answerer,
    suite: Suite,
    target: Target,
    *,
    environment: str,
    repeats: int | None = None,
    concurrency: int | None = None,
    seed: int | None = None,
    on_case: OnCase = lambda _: None,
) -> TestRun:
    """Ask everything that the suite asks, and judge it; nothing is kept yet.

    repeats, concurrency, seed: instead of those of the suite.
    Raises NoData for a suite that asks nothing. KeyboardInterrupt ends it: the run is returned with
    what was measured, and `complete` is false.
    """
    raise NotImplementedError


def ask_case(
    answerer: Answerer,
    effective: Effective,
    case: Case,
    *,
    repeat: int = 0,
    began_s: float,
) -> CaseResult:
    """Ask one case once, and score what comes.

    began_s: when the run began, as `time.perf_counter` says it.
    Never raises for what an answer may end in: that is its outcome.
    """
    raise NotImplementedError
