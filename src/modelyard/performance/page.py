"""A run as one page that stands by itself: verdict, figures, times, every wrong answer.

Decides the contents of the page; `charts` draws it and has its shell, `template/` holds its
sections. Reads nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from modelyard.charts.estimates import Estimate, render_distribution, render_estimates
from modelyard.charts.pages import Fact, Head, Tone, Verdict, render_page
from modelyard.charts.scales import show_duration
from modelyard.core.wording import counted
from modelyard.performance.baseline import against_baseline
from modelyard.performance.comparison import Comparison
from modelyard.performance.reach import what_it_tells
from modelyard.performance.results import LOAD, CaseResult, RunFigure, TestRun
from modelyard.performance.results import Verdict as RunVerdict
from modelyard.performance.shown import (
    show_basis,
    show_interval,
    show_more_needed,
    show_name,
    show_threshold,
    show_value,
    show_verdict,
)
from modelyard.performance.shown_pairs import paired_rows, say_verdict

_TONES: dict[RunVerdict, Tone] = {"pass": "better", "breach": "worse", "cannot_tell": "unclear"}
_LARGE = {
    "accuracy": "Accuracy",
    "latency_p95": "Latency, 95 of 100",
    "cost_per_request": "Cost of a request",
    "error_rate": "Errors",
}
_TIMES = {
    "latency_p50": "Median",
    "latency_p95": "95th percentile",
    "latency_p99": "99th percentile",
    "first_token_p50": "First token, median",
}
_MOST_PARTS = 40
_LONGEST_NAME = 30
"""Of a line in a chart: beside it is the value, and a phone is narrow. The table has all of it."""
_MOST_ANSWERS = 200
"""Of a check; the file of the run has all."""


@dataclass(frozen=True, slots=True)
class WrongCase:
    """A case that was not right every time it was asked."""

    case: CaseResult
    """The first answer that is not right."""
    wrong: int
    """How many of its answers are not."""
    asked: int
    """How often it was asked."""
    before: str | None
    """What the baseline answered, where that was right."""


def render_run(run: TestRun, *, baseline: TestRun | None = None) -> str:
    """The page of a run, beside an earlier one where there is one; everything is escaped."""
    beside = against_baseline(run, baseline) if baseline is not None else None
    return render_page(
        "modelyard.performance",
        "run",
        _head(run, beside),
        run=run,
        beside=beside,
        paired=paired_rows(beside.paired) if beside else [],
        told=say_verdict(beside.paired, beside.name, "this run") if beside else "",
        lines=[_line(figure, run) for figure in run.figures if figure.over != "tag"],
        charts=_charts(run, baseline),
        tags=_accuracies(run, baseline, "tag"),
        distributions=_distributions(run, baseline),
        wrong=_wrong_answers(run, baseline),
        most=_MOST_ANSWERS,
        reach=what_it_tells(run),
    )


def _head(run: TestRun, beside: Comparison | None) -> Head:
    number = f"run {run.number}" if run.number is not None else "not kept"
    sections = {
        "figures": "Figures",
        "baseline": "Baseline" if beside else None,
        "tags": "Tags" if any(figure.over == "tag" for figure in run.figures) else None,
        "times": "Times",
        "answers": "Answers",
        "reach": "What it can tell",
    }
    notes = [*run.notes, *(beside.notes if beside else ())]
    revision = "drafts" if run.config_revision is None else f"revision {run.config_revision}"
    return Head(
        kind="Performance test",
        subject=f"{run.suite}, {number}",
        verdict=_verdict(run, beside),
        sections=[(name, heading) for name, heading in sections.items() if heading],
        notes=[note.removesuffix(".") for note in notes],
        figures=_large_figures(run),
        facts=[
            Fact("Tested", run.target),
            Fact("Answered by", ", ".join(run.models) or "–"),
            Fact("Environment", f"{run.environment}, {revision}"),
            Fact("Suite", f"{run.suite} ({run.suite_digest})"),
            Fact("Started", run.started_at[:19].replace("T", " ") + " UTC"),
            Fact("Took", f"{show_duration(run.wall_s)}, {counted(run.requests, 'request')}"),
            Fact("Seed and repeats", f"{run.seed}; each case {counted(run.repeats, 'time')}"),
            Fact("Made by", f"modelyard {run.version}"),
            Fact("Machine", run.machine, long=True),
        ],
    )


def _verdict(run: TestRun, beside: Comparison | None) -> Verdict:
    tone = _TONES[run.verdict]
    if beside is not None and beside.worse and run.verdict != "breach":
        grounds = (
            f"{counted(beside.paired.only_a, 'case')} right only there, "
            f"{beside.paired.only_b:,} only now"
        )
        return Verdict("worse", f"{run.target} is right less often than {beside.name}", grounds)
    if run.verdict == "pass":
        kept = [figure for figure in run.figures if figure.verdict == "pass"]
        grounds = f"{counted(len(kept), 'threshold')} of {run.suite} kept"
        return Verdict(tone, f"{run.target} passes", f"{grounds}, {_share_right(run)}")
    judged = [figure for figure in run.figures if figure.verdict == run.verdict]
    named = ", ".join(map(_sentence, judged)) or _share_right(run)
    if run.verdict == "breach":
        return Verdict(tone, f"{run.target} breaches {run.suite}", named)
    return Verdict(tone, f"It cannot be told whether {run.target} passes {run.suite}", named)


def _sentence(figure: RunFigure) -> str:
    value = show_value(figure.value, figure.unit)
    bounds = ", ".join(filter(None, (show_threshold(figure), show_more_needed(figure))))
    return f"{show_name(figure)} {value} ({bounds})"


def _share_right(run: TestRun) -> str:
    return f"{run.right:,} of {counted(run.scored, 'answer')} right"


def _large_figures(run: TestRun) -> Iterator[tuple[str, str, str]]:
    """The large numbers: name, value, and its interval or threshold."""
    for name in _LARGE:
        figure = _figure(run, name)
        if figure is not None:
            remark = " · ".join(filter(None, (show_interval(figure), show_threshold(figure))))
            yield _LARGE[name], show_value(figure.value, figure.unit), remark


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureLine:
    """A figure as a line of the table."""

    figure: RunFigure
    """The figure."""
    name: str
    """What it is."""
    value: str
    """Its value."""
    interval: str
    """Where the true value lies."""
    threshold: str
    """What must be reached."""
    verdict: str
    """What follows."""
    more: str
    """How many more cases would settle it."""
    basis: str
    """What it is over."""
    tone: Tone | None
    """The colour of the verdict."""


def _line(figure: RunFigure, run: TestRun) -> FigureLine:
    return FigureLine(
        figure=figure,
        name=show_name(figure),
        value=show_value(figure.value, figure.unit),
        interval=show_interval(figure),
        threshold=show_threshold(figure),
        verdict=show_verdict(figure),
        more=show_more_needed(figure),
        basis=show_basis(figure, run),
        tone=None if figure.verdict is None else _TONES[figure.verdict],
    )


def _charts(run: TestRun, baseline: TestRun | None) -> list[Markup]:
    """Accuracy of all and of each check, and the times."""
    charts = []
    if accuracy := _accuracies(run, baseline, "check"):
        charts.append(accuracy)
    times = [
        _estimate(figure, baseline, title)
        for name, title in _TIMES.items()
        if (figure := _figure(run, name)) is not None and figure.value is not None
    ]
    if times:
        charts.append(
            render_estimates(
                "Time of an answer, less is better",
                times,
                show=lambda seconds: show_value(seconds, "seconds"),
            )
        )
    return charts


def _accuracies(run: TestRun, baseline: TestRun | None, over: str) -> Markup | None:
    """Accuracy of all and of each part; None without one."""
    parts = [each for each in run.figures if each.name == "accuracy" and each.over == over]
    if not parts:
        return None
    parts = sorted(parts, key=lambda each: -each.n)[:_MOST_PARTS] if over == "tag" else parts
    whole = _figure(run, "accuracy")
    shown = [whole, *parts] if whole is not None and over == "check" else parts
    return render_estimates(
        "Right answers, more is better" if over == "check" else "Right answers by tag",
        [_estimate(each, baseline, f"{_cut(each.part or 'all')} · {each.n:,}") for each in shown],
        show=lambda share: show_value(share, "share"),
        full=1.0,
    )


def _estimate(figure: RunFigure, baseline: TestRun | None, name: str) -> Estimate:
    value = show_value(figure.value, figure.unit)
    interval = show_interval(figure)
    text = f"{value} ({interval})" if interval else value
    before = None
    if baseline is not None:
        former = _figure(baseline, figure.name, part=figure.part, over=figure.over)
        before = former.value if former is not None else None
    return Estimate(
        name=name,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        text=text,
        look="tuned" if figure.verdict is None else _TONES[figure.verdict],
        threshold=figure.threshold,
        before=before,
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _figure(
    run: TestRun, name: str, *, part: str | None = None, over: str = "all"
) -> RunFigure | None:
    return next(
        (each for each in run.figures if (each.name, each.part, each.over) == (name, part, over)),
        None,
    )


def _distributions(run: TestRun, baseline: TestRun | None) -> list[Markup]:
    """The times of the answers, those of the baseline below them."""
    runs = [("Time of an answer", run)]
    if baseline is not None:
        runs.append(("Time of an answer in the baseline", baseline))
    charts = []
    for title, each in runs:
        values = [case.latency_s for case in each.cases if case.latency_s is not None]
        quantiles = (("median", "latency_p50"), ("95th percentile", "latency_p95"))
        marks = [
            (name, found.value)
            for name, key in quantiles
            if (found := _figure(each, key)) is not None and found.value is not None
        ]
        charts.append(
            render_distribution(
                title,
                values,
                show=lambda seconds: show_value(seconds, "seconds"),
                marks=marks,
                noun="answer",
            )
        )
    return charts


def _wrong_answers(
    run: TestRun, baseline: TestRun | None
) -> list[tuple[str, list[WrongCase], int, int]]:
    """For each check: its name, the cases that are not right, how many, and of how many."""
    right_before = {
        (case.check, case.case): case.answer or ""
        for case in (baseline.cases if baseline is not None else ())
        if case.right
    }
    checks: dict[str, dict[str, list[CaseResult]]] = {}
    for case in run.cases:
        checks.setdefault(case.check, {}).setdefault(case.case, []).append(case)
    found = []
    for check, cases in checks.items():
        wrong = [
            WrongCase(failed[0], len(failed), len(asked), right_before.get((check, key)))
            for key, asked in cases.items()
            if (failed := [case for case in asked if _is_wrong(case)])
        ]
        wrong.sort(key=lambda each: each.before is None)  # what was right before comes first
        name = "Requests of the load without an answer" if check == LOAD else check
        if wrong or check != LOAD:
            found.append((name, wrong[:_MOST_ANSWERS], len(wrong), len(cases)))
    return found


def _is_wrong(case: CaseResult) -> bool:
    """Whether it is not right; of the load, where nothing is scored, whether there is no answer."""
    return case.answer is None if case.check == LOAD else case.right is not True
