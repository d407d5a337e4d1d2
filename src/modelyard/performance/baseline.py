"""A run beside an earlier one: whether it is as good, case by case."""

from __future__ import annotations

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.performance.cases import Suite
from modelyard.performance.comparison import Comparison
from modelyard.performance.paired_results import pair_results
from modelyard.performance.plan import Plan
from modelyard.performance.results import CaseResult, TestRun
from modelyard.performance.store import LATEST, load_run
from modelyard.performance.targets import Target


def find_baseline(
    project: Project, word: str, plan: Plan, suite: Suite, target: Target
) -> TestRun | None:
    """The run that a person means as a baseline of one to come; None: `latest`, and there is none.

    word: as `load_run` takes it; `latest` is the latest of this suite, target and environment.
    Raises what `load_run` raises, InvalidInput for a run that has no case of the plan.
    """
    try:
        found = load_run(
            project,
            word,
            environment=target.environment,
            suite=suite.name,
            target=target.name,
        )
    except NoData:
        if word != LATEST:
            raise
        return None
    asked = {(case.check.name, case.id) for case in plan.cases}
    if asked.isdisjoint(_asked(found.cases)):
        raise InvalidInput(
            f"{_name(found)} has no case of the suite {suite.name}: it asked {found.suite}",
            hint="name another run, or `latest`",
        )
    return found


def against_baseline(run: TestRun, baseline: TestRun) -> Comparison:
    """Compare a run with an earlier one, by the cases that both were asked."""
    ours, theirs = _asked(run.cases), _asked(baseline.cases)
    paired = pair_results(baseline.cases, run.cases, seed=run.seed)
    return Comparison(
        baseline=baseline.number,
        name=_name(baseline),
        target=baseline.target,
        environment=baseline.environment,
        started_at=baseline.started_at,
        worse=paired.better == "a",
        only_in_run=len(ours - theirs),
        only_in_baseline=len(theirs - ours),
        paired=paired,
        notes=tuple(_notes(run, baseline)),
    )


def _asked(cases: tuple[CaseResult, ...]) -> set[tuple[str, str]]:
    return {(case.check, case.case) for case in cases if case.right is not None}


def _name(run: TestRun) -> str:
    return "the baseline" if run.number is None else f"run {run.number}"


def _notes(run: TestRun, baseline: TestRun) -> list[str]:
    name, notes = _name(baseline), []
    if run.suite_digest != baseline.suite_digest:
        notes.append(f"{name} asked or scored {baseline.suite} otherwise: the cases of both count")
    if run.machine != baseline.machine:
        notes.append(f"{name} ran on another machine ({baseline.machine}): times differ for that")
    if not baseline.complete:
        notes.append(f"{name} was interrupted")
    return notes
