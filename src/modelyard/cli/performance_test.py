"""`models performance-test`: a suite asked of a profile, a model or a domain, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import (
    Environment,
    HtmlFile,
    Json,
    chosen_environment,
    work_in_project_of,
)
from modelyard.cli.render import flush_results, print_json, print_warning
from modelyard.cli.shown_run import (
    JunitFile,
    describe_breach,
    name_figure,
    print_run,
    require_pages,
    roughly,
    write_pages,
)
from modelyard.core.errors import GateBreached, Interrupted, ModelyardError, NoData
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.performance.answered import why_no_data
from modelyard.performance.comparison import Comparison
from modelyard.performance.results import CaseResult, TestRun
from modelyard.results.json_form import published

if TYPE_CHECKING:
    from modelyard.performance.plan import Plan

_DEFAULT_SUITE = "quick"
_TIMED_AFTER = 3
"""After so many requests the first word on how long it will take is worth something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceTested:
    """A run, and what it is compared with."""

    run: TestRun = field(metadata=published(inline=True))
    """The run."""
    baseline: Comparison | None
    """What an earlier run says beside it; null: none was named."""


def performance_test(
    config: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="What is tested: a performance profile, a language model or a domain, by its file "
            "or its name. A profile is tested on the primary model, or on each --domain. Default: "
            "the primary model as the environment has it.",
        ),
    ] = None,
    test_suite: Annotated[
        str | None,
        typer.Option(
            "--test-suite",
            metavar="SUITE",
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
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FILE",
            help="Compare with an earlier run, case by case: its number, a file of --json, or "
            "`latest` of this suite, target and environment.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 5 where nobody can tell yet, instead of 0."),
    ] = False,
    html: HtmlFile = None,
    junit: JunitFile = None,
    as_json: Json = False,
) -> None:
    """Ask a test suite, and judge the answers.

    It says how good, how fast and how dear they are, and how sure that is.
    A threshold is kept or breached by the whole interval of a figure; where the threshold lies
    within, nobody can tell yet, and the table says how many more cases would settle it. No answer
    comes from a cache. The run is kept; its answers count for budgets, not in `models monitor`.
    With --baseline, the answers are right less often than those of the earlier run only when
    McNemar's exact test says so; its times and costs are shown and not judged.
    Exit codes: 0 nothing is breached; 4 a threshold is breached, no request was answered, or it is
    right less often than the baseline; 5 the suite asks nothing, no request was made, no answer
    could be scored, or with --strict nobody can tell; 130 interrupted, and what was measured is
    kept.

    \b
    models performance-test --config balanced.yaml --test-suite comprehensive
    models performance-test --config high_accuracy --domain code_analysis --repeat 3
    models performance-test --adapter techcorp-demo@2 --env production --json
    models performance-test --test-suite comprehensive --baseline latest
    models performance-test --html run.html --junit run.xml
    """
    from modelyard.answering.answer import Answerer
    from modelyard.performance.baseline import against_baseline, find_baseline
    from modelyard.performance.cases import load_suite
    from modelyard.performance.plan import build_plan
    from modelyard.performance.run import run_plan
    from modelyard.performance.targets import find_target
    from modelyard.performance.unbuilt import note_unbuilt

    work_in_project_of([config, test_suite, *(domain or ())])
    project = find_project()
    require_pages(html, junit)
    asked = chosen_environment(project, environment)
    target = find_target(
        project, asked, config=config, model=model, adapter=adapter, domains=domain or ()
    )
    named = test_suite or target.own_suite or _DEFAULT_SUITE
    suite = load_suite(project, named, asked, seed=seed)
    plan = build_plan(project, suite, target, repeats=repeat, concurrency=concurrency, seed=seed)
    former = find_baseline(project, baseline, plan, suite, target) if baseline else None
    if baseline and former is None:
        print_warning("there is no earlier run to compare with")
    for note in note_unbuilt(project, plan):
        print_warning(note)
    with showing_progress() as progress, Answerer(project, note=print_warning) as answerer:
        progress.stage(f"{suite.name} on {target.name} in {asked}: {plan.describe()}")
        with _counting(progress, plan) as count:
            run = run_plan(project, answerer, suite, target, plan, environment=asked, on_case=count)
    kept, unsaved = _keep(project, run)
    beside = against_baseline(kept, former) if former else None
    write_pages(kept, html, junit, baseline=former)
    if as_json:
        print_json(PerformanceTested(run=kept, baseline=beside))
    else:
        print_run(kept)
        if beside is not None:
            from modelyard.cli.paired import print_beside

            print_beside(beside)
    flush_results()
    _conclude(kept, beside, unsaved, strict=strict)


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
            progress.stage(f"about {roughly(whole_s)} in all, by the first {done - 1}")
        left_s = (time.perf_counter() - began_s) / max(1, done - 1) * (total - done)
        is_known = _TIMED_AFTER < done < total
        progress.advance(done, f"about {roughly(left_s)} left" if is_known else "")

    yield count
    progress.end()


def _keep(project: Project, run: TestRun) -> tuple[TestRun, ModelyardError | None]:
    """The run with its number, or as it is with why it could not be kept."""
    from modelyard.performance.store import save_run

    try:
        return save_run(project, run), None
    except ModelyardError as error:
        note = f"it is not kept: {error.message}"
        return replace(run, notes=(*run.notes, note)), error


def _conclude(
    run: TestRun, beside: Comparison | None, unsaved: ModelyardError | None, *, strict: bool
) -> None:
    """Exit as the run says: interrupted, breached, not kept, or not decided where it must be."""
    if not run.complete:
        kept = "" if run.number is None else f"; what was measured is kept as run {run.number}"
        if run.stopped is not None:
            raise ModelyardError(f"stopped: {run.stopped}{kept}")
        raise Interrupted(f"interrupted{kept}")
    breached = [figure for figure in run.figures if figure.verdict == "breach"]
    if run.verdict == "breach":
        what = ", ".join(map(describe_breach, breached)) or "no request was answered"
        raise GateBreached(f"{run.target} does not reach {run.suite} in {run.environment}: {what}")
    if beside is not None and beside.worse:
        paired = beside.paired
        raise GateBreached(
            f"{run.target} is right less often than {beside.name}: "
            f"{counted(paired.only_a, 'case')} only there, {paired.only_b:,} only now "
            f"(p = {paired.p_value:.2g})"
        )
    if unsaved is not None:
        raise unsaved
    if nothing := why_no_data(run):
        raise NoData(nothing)
    if strict and run.verdict == "cannot_tell":
        undecided = [each for each in run.figures if each.verdict == "cannot_tell"]
        if not undecided:
            raise NoData(
                f"nobody can tell: the suite {run.suite} has no thresholds",
                hint="write under `thresholds` in it what must be reached",
            )
        what = ", ".join(map(name_figure, undecided))
        raise NoData(f"nobody can tell yet: {what}", hint="ask more cases, or repeat the load")
