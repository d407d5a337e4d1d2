"""A run beside an earlier one: whether it is as good, case by case."""

from __future__ import annotations

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.performance.cases import Suite
from modelyard.performance.comparison import Comparison
from modelyard.performance.paired_results import pair_results
from modelyard.performance.plan import Plan
from modelyard.performance.results import CaseResult, TestRun
from modelyard.performance.store import LATEST, load_run, recent_runs
from modelyard.performance.targets import Target


def find_baseline(
    project: Project, word: str, plan: Plan, suite: Suite, target: Target
) -> TestRun | None:
    """The run that a person means as a baseline of one to come; None: `latest`, and there is none.

    word: as `load_run` takes it; `latest` is the latest of this suite, target and environment that
        was not interrupted and has something right. One without, as when a provider was down or a
        budget spent, is worse than nothing: no later run could be worse than it. Where the latest
        asked none of these cases, since all were replaced, there is none either.
    Raises what `load_run` raises, InvalidInput for a suite without cases, and for a run that was
    named and has no case of the plan.
    """
    if not plan.cases:
        raise InvalidInput(
            f"the suite {suite.name} has no cases that could be compared with an earlier run",
            hint="leave --baseline out: requests of a load are only measured",
        )
    found = _latest(project, suite, target) if word == LATEST else load_run(project, word)
    asked = {(case.check.name, case.id) for case in plan.cases}
    if found is None or not asked.isdisjoint(_asked(found.cases)):
        return found
    if word == LATEST:
        return None
    raise InvalidInput(
        f"{_name(found)} has no case of the suite {suite.name} that was scored: it asked "
        f"{found.suite}",
        hint="name another run, or `latest`",
    )


def _latest(project: Project, suite: Suite, target: Target) -> TestRun | None:
    rows = recent_runs(
        project, environment=target.environment, suite=suite.name, target=target.name
    )
    row = next((row for row in rows if row.complete and row.right), None)
    return load_run(project, str(row.number)) if row is not None else None


def against_baseline(run: TestRun, baseline: TestRun) -> Comparison:
    """Compare a run with an earlier one, by the cases that both were asked.

    A case whose right answer is another one now says nothing of what was tested, and is left out.
    """
    ours, theirs = _asked(run.cases), _asked(baseline.cases)
    changed = _with_another_answer(run.cases, baseline.cases)
    before, now = (
        [case for case in cases if (case.check, case.case) not in changed]
        for cases in (baseline.cases, run.cases)
    )
    paired = pair_results(before, now, seed=run.seed)
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
        notes=tuple(_notes(run, baseline, len(changed))),
    )


def _asked(cases: tuple[CaseResult, ...]) -> set[tuple[str, str]]:
    return {(case.check, case.case) for case in cases if case.right is not None}


def _name(run: TestRun) -> str:
    return "the baseline" if run.number is None else f"run {run.number}"


def _with_another_answer(
    ours: tuple[CaseResult, ...], theirs: tuple[CaseResult, ...]
) -> set[tuple[str, str]]:
    """The cases of both whose right answer is not the same in both."""
    before = {(case.check, case.case): case.expected for case in theirs}
    return {
        (case.check, case.case)
        for case in ours
        if before.get((case.check, case.case), case.expected) != case.expected
    }


def _notes(run: TestRun, baseline: TestRun, changed: int) -> list[str]:
    name, notes = _name(baseline), []
    if changed:
        notes.append(
            f"{counted(changed, 'case has', 'cases have')} another right answer than in {name}, "
            f"and {'is' if changed == 1 else 'are'} left out"
        )
    if run.suite_digest != baseline.suite_digest:
        notes.append(f"{name} asked or scored {baseline.suite} otherwise: the cases of both count")
    if run.machine != baseline.machine:
        notes.append(f"{name} ran on another machine ({baseline.machine}): times differ for that")
    if not baseline.complete:
        notes.append(f"{name} was interrupted")
    return notes
