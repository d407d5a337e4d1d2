"""`models report`: a run of a test suite, or a fine-tune run, shown again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import HtmlFile, Json
from modelyard.cli.render import print_evaluation, print_json, print_pairs, print_title
from modelyard.cli.shown_run import JunitFile, print_run, require_pages, write_pages
from modelyard.core.errors import InvalidInput
from modelyard.core.given_paths import write_given_file
from modelyard.core.layout import Project, find_project
from modelyard.records.evaluation import Evaluation
from modelyard.results.json_form import published

if TYPE_CHECKING:
    from modelyard.performance.results import TestRun

_RUN = re.compile(r"[0-9]+|latest")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentShown:
    """A fine-tune run that has made a version."""

    experiment: str
    """The experiment."""
    adapter: str
    """The adapter that it trained."""
    version: int
    """The number of its version."""
    report: str
    """The path of its page."""
    evaluation: Evaluation | None = field(metadata=published(without=("examples",)))
    """Base against adapter; None when there was no row to evaluate."""


def report(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|EXPERIMENT",
            help="A run of `models performance-test`, by its number, as `latest` or as a file that "
            "--json was written to; or an experiment, by its name.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="RUN", help="Show this earlier run beside the run of a suite."
        ),
    ] = None,
    html: HtmlFile = None,
    junit: JunitFile = None,
    as_json: Json = False,
) -> None:
    """Show again what a test suite or a fine-tune run gave.

    A run of a test suite is shown as `models performance-test` showed it; the exit code is 0
    whatever came of it. Of an experiment the figures are shown, and its report.html is made again
    where it is missing.

    \b
    models report latest --html run.html
    models report 12 --baseline 11 --html run.html
    models report techcorp-demo --html report.html
    """
    project = find_project()
    require_pages(html, junit)
    if _names_run(project, what):
        _report_run(project, what, baseline, html, junit, as_json=as_json)
    elif junit is not None or baseline is not None:
        raise InvalidInput(
            f"{'--junit' if junit is not None else '--baseline'} is for runs of a test suite",
            hint=f"{what} is an experiment: leave it out",
        )
    else:
        _report_experiment(project, what, html, as_json=as_json)


def _names_run(project: Project, what: str) -> bool:
    """Whether it is a number, `latest`, or a file."""
    if _RUN.fullmatch(what):
        return True
    return not (project.experiments / what).is_dir() and (
        "/" in what or what.endswith(".json") or Path(what).is_file()
    )


def _report_run(
    project: Project,
    what: str,
    baseline: str | None,
    html: Path | None,
    junit: Path | None,
    *,
    as_json: bool,
) -> None:
    from modelyard.cli.paired import print_beside
    from modelyard.cli.performance_test import PerformanceTested
    from modelyard.performance.baseline import against_baseline
    from modelyard.performance.store import load_run

    run = load_run(project, what)
    former = _find_former(project, run, baseline) if baseline is not None else None
    beside = against_baseline(run, former) if former is not None else None
    write_pages(run, html, junit, baseline=former)
    if as_json:
        print_json(PerformanceTested(run=run, baseline=beside))
        return
    print_run(run)
    if beside is not None:
        print_beside(beside)


def _find_former(project: Project, run: TestRun, word: str) -> TestRun:
    """The run that is shown beside; `latest` is the latest of the same suite, target and place."""
    from modelyard.performance.store import load_run

    former = load_run(
        project, word, environment=run.environment, suite=run.suite, target=run.target
    )
    if former.number is not None and former.number == run.number:
        raise InvalidInput(
            f"--baseline {word} is the run itself", hint="name an earlier one by its number"
        )
    return former


def _report_experiment(project: Project, what: str, html: Path | None, *, as_json: bool) -> None:
    from modelyard.training.report.again import load_finished, report_page

    finished = load_finished(project, what)
    page = report_page(project, finished)
    if html is not None:
        write_given_file(html, page)
    version = finished.version
    path = project.show(finished.experiment.report_file)
    if as_json:
        print_json(
            ExperimentShown(
                experiment=what,
                adapter=version.adapter,
                version=version.number,
                report=path,
                evaluation=finished.evaluation,
            )
        )
        return
    print_title(f"{version.name}, trained by {what}")
    if finished.evaluation is not None:
        print_evaluation(finished.evaluation)
    print_pairs([("report", f"{path}  (open it in a browser)")])
