"""A run of a test suite on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.render import print_note, print_table, print_text, print_title, print_warning
from modelyard.core.errors import InvalidInput
from modelyard.core.given_paths import require_file_place, write_given_file
from modelyard.core.wording import counted
from modelyard.performance.reach import what_it_tells
from modelyard.performance.results import RunFigure, TestRun
from modelyard.performance.shown import show_basis, show_exact, show_interval, show_value
from modelyard.settings.units import SHARE

JunitFile = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Also write JUnit XML, which CI systems show."),
]

_SHOWN_WRONG = 5
_LONGEST_SHOWN = 160


def print_run(run: TestRun) -> None:
    """Figures, the first wrong answers and what the run can tell; what to know of it on stderr."""
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
        [_row(figure, run) for figure in shown],
    )
    wrong = [result for result in run.cases if result.right is False]
    if wrong:
        print_title(f"{counted(len(wrong), 'answer')} not right")
        for result in wrong[:_SHOWN_WRONG]:
            print_text(f"{result.check}: {_short(result.question)}")
            print_text(f"  {_short(result.answer or result.outcome)}")
            print_text(f"  {_short(result.why)}")
        if (more := len(wrong) - _SHOWN_WRONG) > 0:
            page = f": `models report {run.number} --html FILE` shows them" if run.number else ""
            print_text(f"and {counted(more, 'more answer')}{page}")
    if can_tell := what_it_tells(run):
        print_title("What it can tell")
        for sentence in can_tell:
            print_text(f"{sentence}.")
    for note in run.notes:
        print_warning(note)
    if run.number is not None:
        models = ", ".join(run.models) or "no model"
        print_note(
            f"Kept as run {run.number}: {counted(run.requests, 'request')} in "
            f"{roughly(run.wall_s)}, answered by {models}, on {run.machine}."
        )


def _row(figure: RunFigure, run: TestRun) -> list[str]:
    unit = figure.unit
    return [
        name_figure(figure),
        show_value(figure.value, unit),
        show_interval(figure),
        show_basis(figure, run),
        "" if figure.threshold is None else show_exact(figure.threshold, unit),
        _verdict(figure),
    ]


def name_figure(figure: RunFigure) -> str:
    """`accuracy company_facts`: the figure, and which part it is over."""
    return f"{figure.name} {figure.part}" if figure.part else figure.name


def _verdict(figure: RunFigure) -> str:
    words = (figure.verdict or "").replace("_", " ")
    return f"{words}, {figure.more_needed:,} more needed" if figure.more_needed else words


def describe_breach(figure: RunFigure) -> str:
    """`accuracy company_facts 41% (threshold 85%)`."""
    value = show_value(figure.value, figure.unit)
    assert figure.threshold is not None
    return f"{name_figure(figure)} {value} (threshold {show_exact(figure.threshold, figure.unit)})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."


def roughly(seconds: float) -> str:
    """`42 s`, `6 min`, `1.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def require_pages(html: Path | None, junit: Path | None) -> None:
    """Raise InvalidInput, before anything is asked, where a file cannot be written."""
    for path in (html, junit):
        if path is not None:
            require_file_place(path)
    if html is not None and junit is not None and html.resolve() == junit.resolve():
        raise InvalidInput(
            f"--html and --junit both name {html}, and one would replace the other",
            hint="give each a file of its own",
        )


def write_pages(
    run: TestRun, html: Path | None, junit: Path | None, *, baseline: TestRun | None = None
) -> None:
    """Write the files that were asked for; both tell of the baseline beside the run."""
    if html is not None:
        from modelyard.performance.page import render_run

        write_given_file(html, render_run(run, baseline=baseline))
    if junit is not None:
        from modelyard.performance.junit import render_junit

        write_given_file(junit, render_junit(run, baseline=baseline))
