"""One run of a suite: every case and the load, asked of a target, scored and judged."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from modelyard import __version__
from modelyard.answering.answer import Answerer
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.processor import cpu_name
from modelyard.core.wording import counted
from modelyard.performance.answered import (
    leave_out_silence,
    none_answered,
    notes_on_unscored,
)
from modelyard.performance.asking import ask_case, build_result
from modelyard.performance.cases import Suite
from modelyard.performance.figures import Measured, build_figures
from modelyard.performance.plan import Job, Plan, build_plan
from modelyard.performance.results import GIVEN, CaseResult, TestRun
from modelyard.performance.scorers.scored import Scored, wrong
from modelyard.performance.scoring import Scorers
from modelyard.performance.targets import Target
from modelyard.performance.verdicts import sum_up
from modelyard.performance.workers import Workers

OnCase = Callable[[CaseResult], None]
"""Is told each request when it has ended, those to warm up included; always in the same thread."""

_GRACE_S = 60.0
"""How much longer than its time a request may take before it is given up, thread and all: what
ends it in time is the deadline of the answer, and this is for what knows none."""
_LONGEST_LOAD_S = 900.0
"""The same until the first answer: a model is read from a disk."""


@dataclass(slots=True)
class _Ended:
    """What has ended so far."""

    cases: list[CaseResult] = field(default_factory=list)
    base: list[CaseResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each part took."""
    complete: bool = True
    stopped: str | None = None
    """Why no more was asked, where this machine is at fault."""


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
    Raises what `build_plan` raises. KeyboardInterrupt, and an error that no model is at fault for,
    end it early: the run is returned with what was measured, and `complete` is false. Before the
    first answer they are raised.
    """
    plan = build_plan(project, suite, target, repeats=repeats, concurrency=concurrency, seed=seed)
    return run_plan(
        project, answerer, suite, target, plan, environment=environment, on_case=on_case
    )


def run_plan(
    project: Project,
    answerer: Answerer,
    suite: Suite,
    target: Target,
    plan: Plan,
    *,
    environment: str,
    on_case: OnCase = lambda _: None,
) -> TestRun:
    """The same with a plan that was made before."""
    started_at, began_s = utc_now(), time.perf_counter()
    scorers = Scorers(project, answerer, environment, plan.cases)
    ended = _Ended()
    try:
        _ask_all(answerer, scorers, plan, ended, on_case, began_s)
    except KeyboardInterrupt:
        if not ended.cases:
            raise
        ended.complete = False
    except ModelyardError as error:
        if not ended.cases:
            raise
        ended.complete, ended.stopped = False, str(error)
    results = leave_out_silence(sorted(ended.cases, key=lambda each: each.started_s))
    figures = build_figures(
        Measured(
            suite=suite.settings,
            results=results,
            base=ended.base,
            cases_s=ended.seconds.get("cases", 0.0),
            load_s=ended.seconds.get("load", 0.0),
        )
    )
    answered_by = Counter(each.model for each in results if each.model and each.outcome in GIVEN)
    return TestRun(
        suite=suite.name,
        suite_digest=suite.digest,
        environment=environment,
        config_revision=target.revision,
        target=target.name,
        models=tuple(name for name, _ in answered_by.most_common()),
        started_at=started_at,
        finished_at=utc_now(),
        complete=ended.complete,
        stopped=ended.stopped,
        seed=plan.seed,
        repeats=plan.repeats,
        concurrency=plan.concurrency,
        confidence=suite.settings.confidence,
        wall_s=time.perf_counter() - began_s,
        requests=len(results) + len(ended.base),
        right=sum(each.right is True for each in results),
        scored=sum(each.right is not None for each in results),
        figures=figures,
        cases=tuple(results),
        base_cases=tuple(sorted(ended.base, key=lambda each: each.started_s)),
        machine=f"{cpu_name()}, {counted(len(os.sched_getaffinity(0)), 'core')}",
        version=__version__,
        verdict=sum_up(figures, complete=ended.complete, none_answered=none_answered(results)),
        notes=(*plan.notes, *_notes(plan, ended, results)),
    )


def _ask_all(
    answerer: Answerer,
    scorers: Scorers,
    plan: Plan,
    ended: _Ended,
    on_case: OnCase,
    began_s: float,
) -> None:
    """Ask part by part; what has ended is in `ended` at any time."""
    heard = False

    def ask(job: Job) -> CaseResult:
        return ask_case(
            answerer,
            None if job.part in ("load", "warm_up") else scorers,
            job.effective,
            job.case,
            timeout_s=job.timeout_s,
            began_s=began_s,
            repeat=job.repeat,
            seed=plan.seed,
        )

    def longest_s(job: Job) -> float:
        return job.timeout_s + (_GRACE_S if heard else _LONGEST_LOAD_S)

    def give_up(job: Job, started_s: float) -> CaseResult:
        why = f"it was given up after {time.perf_counter() - started_s:.0f} s"
        is_load = job.part in ("load", "warm_up")
        return build_result(
            job.case,
            Scored(score=None, right=None, why=why) if is_load else wrong(why),
            outcome="timeout",
            repeat=job.repeat,
            started_s=started_s - began_s,
            ended_s=time.perf_counter() - began_s,
            is_load=is_load,
        )

    workers = Workers(ask, longest_s=longest_s, give_up=give_up)
    for part in ("warm_up", "cases", "base", "load"):
        jobs = [job for job in plan.jobs if job.part == part]
        part_began_s = time.perf_counter()
        try:
            for result in workers.results(jobs, at_once=plan.concurrency):
                heard = True
                if part == "base":
                    ended.base.append(result)
                elif part != "warm_up":
                    ended.cases.append(result)
                on_case(result)
        finally:
            ended.seconds[part] = time.perf_counter() - part_began_s


def _notes(plan: Plan, ended: _Ended, results: Sequence[CaseResult]) -> list[str]:
    notes = []
    if not ended.complete:
        how = "stopped" if ended.stopped else "interrupted"
        asked, planned = len(results) + len(ended.base), len(plan.jobs) - plan.count("warm_up")
        notes.append(f"{how} after {asked:,} of {planned:,} requests")
    notes += [
        f"{judge} judges answers of its own, which models tend to prefer"
        for judge in _own_judges(plan, (each.model for each in results if each.model))
    ]
    if refused := sum(each.outcome == "over_limit" for each in results):
        notes.append(
            f"{counted(refused, 'request was', 'requests were')} not made, for want of budget or "
            f"because of a limit, and {'says' if refused == 1 else 'say'} nothing of the models"
        )
    notes += notes_on_unscored(results)
    if plan.repeats > 1 and _is_deterministic(plan):
        notes.append(
            "all models take the likeliest token (temperature 0), so that repeats say something of "
            "times only"
        )
    return notes


def _own_judges(plan: Plan, answered_by: Iterable[str]) -> list[str]:
    """The judges that gave answers which they graded: models prefer their own."""
    judges = {case.check.judge for case in plan.cases if case.check.scorer == "judge"}
    return sorted(judge for judge in judges if judge in set(answered_by))


def _is_deterministic(plan: Plan) -> bool:
    temperatures = {job.effective.model.settings.generation.temperature for job in plan.jobs}
    return temperatures <= {0.0}
