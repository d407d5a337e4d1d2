"""The page of `models monitor --html`: what was answered, and whether it was good enough.

Decides the contents; `charts` draws, and `template/` holds the sections. The page needs no network,
no other file and no JavaScript.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from markupsafe import Markup

from modelyard.charts.courses import render_course
from modelyard.charts.pages import Fact, Head, Tone, Verdict, render_page
from modelyard.core.wording import day_and_time
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport
from modelyard.monitoring.wording import show_breach, show_interval, show_threshold, show_value
from modelyard.settings.units import DURATION

_TONES: dict[str, Tone] = {"ok": "better", "breach": "worse"}
_NAMES = {
    "accuracy": "Accuracy",
    "cost_per_request": "Cost per request",
    "cost_total": "Cost in all",
    "error_rate": "Error rate",
    "requests": "Requests",
    "prompt_tokens": "Tokens sent",
    "output_tokens": "Tokens answered",
}
_FIGURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A row of the table of thresholds."""

    measure: str
    basis: str
    value: str
    interval: str
    threshold: str
    verdict: str
    tone: Tone


def render_monitor_page(report: MonitorReport, since: str) -> str:
    """The whole page. since: how far back it shows, as it was asked for, such as `24h`."""
    window = DURATION.show(report.window_s)
    sections = [("judged", "Thresholds"), ("course", f"Last {since}")]
    if report.groups:
        sections.append(("parts", f"By {report.by}"))
    subject = report.environment + (f", {report.model}" if report.model else "")
    notes = () if report.recorded else (f"answers are not recorded in {report.environment}",)
    head = Head(
        kind="Monitoring",
        subject=subject,
        verdict=_verdict(report, window),
        sections=sections,
        notes=notes,
        figures=_figures(report),
        facts=(
            Fact("Environment", report.environment),
            Fact("Model", report.model or "all"),
            Fact(
                "Shown",
                f"{day_and_time(report.from_at)} to {day_and_time(report.to_at)} UTC",
                long=True,
            ),
        ),
    )
    return render_page(
        "modelyard.monitoring",
        "monitor",
        head,
        window=window,
        since=since,
        pieces=len(report.measures[0].trend) if report.measures else 0,
        judged=list(_judged(report.judged)),
        courses=list(_courses(report)),
        by=report.by,
        columns=[name_of(each.measure) for each in report.measures],
        groups=[
            (
                group.name or f"no {report.by}",
                [show_value(each.shown.value, each.unit) for each in group.measures],
            )
            for group in report.groups
        ],
    )


def name_of(measure: str) -> str:
    """A measure as a heading: `Latency p95`."""
    named = measure.replace("_", " ").replace("latency", "Latency").replace("suite:", "Suite ")
    return _NAMES.get(measure, named)


def _verdict(report: MonitorReport, window: str) -> Verdict:
    where = f"in {report.environment}, over the last {window}"
    if breaches := report.with_verdict("breach"):
        grounds = ", ".join(map(_breach, breaches))
        count = "A threshold is" if len(breaches) == 1 else f"{len(breaches)} thresholds are"
        return Verdict("worse", f"{count} breached", f"{grounds}, {where}")
    judged = [each for each in report.judged if each.verdict is not None]
    missing = [*report.with_verdict("no_data"), *report.with_verdict("cannot_tell")]
    if not judged:
        return Verdict("unclear", "Nothing is judged", "the config has no thresholds for this")
    if missing:
        names = ", ".join(name_of(each.measure).lower() for each in missing)
        kept = len(judged) - len(missing)
        return Verdict(
            "unclear",
            f"{kept} of {len(judged)} thresholds are kept",
            f"of {names} it cannot be told {where}",
        )
    return Verdict("better", "All thresholds are kept", where)


def _breach(found: MonitoredMeasure) -> str:
    assert found.judged is not None
    assert found.threshold is not None
    name = name_of(found.measure).lower()
    return show_breach(name, found.judged.value, found.threshold, found.unit)


def _figures(report: MonitorReport) -> Iterator[tuple[str, str, str]]:
    """The large numbers: what is judged first."""
    by_need = sorted(report.measures, key=lambda each: each.verdict is None)
    for each in by_need[:_FIGURES]:
        yield name_of(each.measure), show_value(each.shown.value, each.unit), each.shown.basis


def _judged(measures: Sequence[MonitoredMeasure]) -> Iterator[_Judged]:
    for each in measures:
        if each.judged is None or each.threshold is None or each.verdict is None:
            continue
        yield _Judged(
            measure=name_of(each.measure),
            basis=each.judged.basis,
            value=show_value(each.judged.value, each.unit),
            interval=show_interval(each.judged, each.unit),
            threshold=show_threshold(each.threshold, each.unit),
            verdict=each.verdict.replace("_", " "),
            tone=_TONES.get(each.verdict, "unclear"),
        )


def _courses(report: MonitorReport) -> Iterator[Markup]:
    start_s, end_s = _seconds(report.from_at), _seconds(report.to_at)
    for each in (*report.measures, *report.suites):
        width_s = (end_s - start_s) / max(1, len(each.trend))
        points = [
            (start_s + (place + 0.5) * width_s, math.nan if value is None else value)
            for place, value in enumerate(each.trend)
        ]
        interval = show_interval(each.shown, each.unit)
        readout = show_value(each.shown.value, each.unit) + (f" ({interval})" if interval else "")
        if each in report.suites:
            readout += f" · {each.shown.basis}"
        yield render_course(
            name_of(each.measure),
            points,
            show=partial(show_value, unit=each.unit),
            readout=readout,
            threshold=each.threshold,
            full=1.0 if each.metric == "accuracy" else None,
        )


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
