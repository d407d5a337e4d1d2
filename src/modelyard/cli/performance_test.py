"""`models performance-test`: a suite asked of a profile, a model or a domain, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import (
    flush_results,
    print_json,
    print_note,
    print_table,
    print_title,
    print_warning,
    showing_progress,
)
from modelyard.core.errors import GateBreached, Interrupted, ModelyardError, NoData
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.performance.results import CaseResult, RunFigure, TestRun, Unit
from modelyard.results.json_form import published
from modelyard.settings.units import DURATION, MONEY, SHARE

if TYPE_CHECKING:
    from modelyard.performance.plan import Plan

_DEFAULT_SUITE = "quick"
_SHOWN_WRONG = 5
_LONGEST_SHOWN = 160
_TIMED_AFTER = 3
"""After so many requests the first word on how long it will take is worth something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceTested:
    """A run, and what it is compared with."""

    run: TestRun = field(metadata=published(inline=True))
    """The run."""


def performance_test(
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="What is tested: a performance profile, a language model or a domain, by its file "
            "or its name. A profile is tested on the primary model, or on each --domain. Default: "
            "the primary model as the environment has it.",
        ),
    ] = None,
    test_suite: Annotated[
        str | None,
        typer.Option(
            "--test-suite",
            metavar="NAME",
            help="A suite in configs/test_suites/. Default: that of the domain's "
            "`quality.test_suite`, else quick.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="REF", help="The only model that is asked, as docs/models.md says."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="NAME[@V]", help="The only model that is asked: an adapter."),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Ask this domain. Repeatable: each is asked all."),
    ] = None,
    environment: Environment = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            "--repeat",
            metavar="N",
            min=1,
            max=100,
            help="Times each case is asked and the load is sent. Default: as in the suite.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1024,
            help="Requests at a time. Default: as in the suite's load.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Seed of rows and answers. Default: as in the suite."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 5 where nobody can tell yet, instead of 0."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a test suite, and say how good, fast and dear the answers are, and how sure that is.

    A threshold is kept or breached by the whole interval of a figure; where the threshold lies
    within, nobody can tell yet, and the table says how many more cases would settle it. No answer
    comes from a cache. The run is kept; its answers count for budgets, not in `models monitor`.
    Exit codes: 0 nothing is breached; 4 a threshold is breached, or no request was answered; 5 the
    suite asks nothing, or with --strict nobody can tell; 130 interrupted, and what was measured is
    kept.

    \b
    models performance-test --config balanced.yaml --test-suite comprehensive
    models performance-test --config high_accuracy --domain code_analysis --repeat 3
    models performance-test --adapter techcorp-demo@2 --env production --json
    """
    from modelyard.answering.answer import Answerer
    from modelyard.performance.cases import load_suite
    from modelyard.performance.plan import build_plan
    from modelyard.performance.run import run_plan
    from modelyard.performance.targets import find_target

    project = find_project()
    asked = chosen_environment(project, environment)
    target = find_target(
        project, asked, config=config, model=model, adapter=adapter, domains=domain or ()
    )
    named = test_suite or target.own_suite or _DEFAULT_SUITE
    suite = load_suite(project, named, asked, seed=seed)
    plan = build_plan(project, suite, target, repeats=repeat, concurrency=concurrency, seed=seed)
    with showing_progress() as progress, Answerer(project, note=print_warning) as answerer:
        progress.stage(f"{suite.name} on {target.name} in {asked}: {plan.describe()}")
        with _counting(progress, plan) as count:
            run = run_plan(project, answerer, suite, target, plan, environment=asked, on_case=count)
    kept, unsaved = _keep(project, run)
    if as_json:
        print_json(PerformanceTested(run=kept))
    else:
        _print_run(kept)
    flush_results()
    _conclude(kept, unsaved, strict=strict)


@contextmanager
def _counting(progress: Progress, plan: Plan) -> Iterator[Callable[[CaseResult], None]]:
    """Shows how many requests have ended, and how long the others will take."""
    total, done, began_s = len(plan.jobs), 0, time.perf_counter()
    progress.begin("requests", total, "requests")

    def count(_: CaseResult) -> None:
        nonlocal done, began_s
        done += 1
        if done == 1:  # a model that had to be loaded says nothing of the next requests
            began_s = time.perf_counter()
        elif done == min(1 + _TIMED_AFTER, total):
            whole_s = (time.perf_counter() - began_s) / (done - 1) * total
            progress.stage(f"about {_roughly(whole_s)} in all, by the first {done - 1}")
        left_s = (time.perf_counter() - began_s) / max(1, done - 1) * (total - done)
        is_known = _TIMED_AFTER < done < total
        progress.advance(done, f"about {_roughly(left_s)} left" if is_known else "")

    yield count
    progress.end()


def _roughly(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _keep(project: Project, run: TestRun) -> tuple[TestRun, ModelyardError | None]:
    """The run with its number, or as it is with why it could not be kept."""
    from modelyard.performance.store import save_run

    try:
        return save_run(project, run), None
    except ModelyardError as error:
        note = f"it is not kept: {error.message}"
        return replace(run, notes=(*run.notes, note)), error


def _conclude(run: TestRun, unsaved: ModelyardError | None, *, strict: bool) -> None:
    """Exit as the run says: interrupted, breached, not kept, or not decided where it must be."""
    if not run.complete:
        kept = "" if run.number is None else f"; what was measured is kept as run {run.number}"
        raise Interrupted(f"interrupted{kept}")
    breached = [figure for figure in run.figures if figure.verdict == "breach"]
    if run.verdict == "breach":
        what = ", ".join(map(_breach, breached)) or "no request was answered"
        raise GateBreached(f"{run.target} does not reach {run.suite} in {run.environment}: {what}")
    if unsaved is not None:
        raise unsaved
    if strict and run.verdict == "cannot_tell":
        undecided = [each for each in run.figures if each.verdict == "cannot_tell"]
        what = ", ".join(map(_measure, undecided)) or "the suite has no thresholds"
        raise NoData(f"nobody can tell yet: {what}", hint="ask more cases, or repeat the load")


def _print_run(run: TestRun) -> None:
    shown = [figure for figure in run.figures if figure.value is not None or figure.verdict]
    print_table(
        [
            "measure",
            ">value",
            f"{SHARE.show(run.confidence)} interval",
            "of",
            ">threshold",
            "verdict",
        ],
        [_row(figure) for figure in shown],
    )
    wrong = [result for result in run.cases if result.right is False]
    if wrong:
        print_title(f"{counted(len(wrong), 'answer')} not right")
        for result in wrong[:_SHOWN_WRONG]:
            print_note(f"{result.check}: {_short(result.question)}")
            print_note(f"  {_short(result.answer or result.outcome)}")
            print_note(f"  {_short(result.why)}")
    for note in run.notes:
        print_warning(note)
    if run.number is not None:
        models = ", ".join(run.models) or "no model"
        print_note(
            f"Kept as run {run.number}: {counted(run.requests, 'request')} in "
            f"{_roughly(run.wall_s)}, answered by {models}, on {run.machine}."
        )


def _row(figure: RunFigure) -> list[str]:
    unit = figure.unit
    return [
        _measure(figure),
        _value(figure.value, unit),
        _interval(figure),
        _basis(figure),
        "" if figure.threshold is None else _exact(figure.threshold, unit),
        _verdict(figure),
    ]


def _measure(figure: RunFigure) -> str:
    return f"{figure.name} {figure.part}" if figure.part else figure.name


def _basis(figure: RunFigure) -> str:
    """What a figure is over."""
    basis = f"{figure.n:,}"
    if figure.right is not None:
        basis = f"{figure.right:,} of {figure.scored:,}"
        if figure.scored != figure.n:
            basis += f", {counted(figure.n, 'case')}"
    return f"{basis}, {figure.unknown:,} more unknown" if figure.unknown else basis


def _verdict(figure: RunFigure) -> str:
    words = (figure.verdict or "").replace("_", " ")
    return f"{words}, {figure.more_needed:,} more needed" if figure.more_needed else words


def _interval(figure: RunFigure) -> str:
    if figure.low is None and figure.high is None:
        return ""
    if figure.high is None:
        return f"from {_value(figure.low, figure.unit)}"
    if figure.low is None:
        return f"to {_value(figure.high, figure.unit)}"
    return f"{_value(figure.low, figure.unit)} to {_value(figure.high, figure.unit)}"


def _breach(figure: RunFigure) -> str:
    value = _value(figure.value, figure.unit)
    assert figure.threshold is not None
    return f"{_measure(figure)} {value} (threshold {_exact(figure.threshold, figure.unit)})"


def _value(value: float | None, unit: Unit) -> str:
    """A value in its unit, to three digits."""
    return "unknown" if value is None else _exact(float(f"{value:.3g}"), unit)


def _exact(value: float, unit: Unit) -> str:
    """A value in its unit, with all its digits."""
    if unit == "per_second":
        return f"{value:,.12g}/s"
    return {"share": SHARE, "seconds": DURATION, "usd": MONEY}[unit].show(value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."
