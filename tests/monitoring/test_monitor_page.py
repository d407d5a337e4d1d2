"""The page of what was answered: complete, self-contained, and safe with any name."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from modelyard.monitoring.measures import Figure, Metric, Unit, judge
from modelyard.monitoring.monitor import MonitoredGroup, MonitoredMeasure, MonitorReport
from modelyard.monitoring.page import render_monitor_page

Course = tuple[float | None, ...]


def figure(value: float | None, spread: float = 0.1, *, basis: str = "100 answers") -> Figure:
    low, high = (None, None) if value is None else (value * (1 - spread), value * (1 + spread))
    return Figure(value=value, low=low, high=high, n=100, unknown=0, basis=basis)


def measured(
    metric: Metric,
    measure: str,
    unit: Unit,
    value: float | None,
    *,
    threshold: float | None = None,
    trend: Course = (),
) -> MonitoredMeasure:
    judged = figure(value) if threshold is not None else None
    return MonitoredMeasure(
        metric=metric,
        measure=measure,
        unit=unit,
        shown=figure(value),
        trend=trend or (value,) * 24,
        judged=judged,
        threshold=threshold,
        verdict=judge(judged, threshold, least=measure == "accuracy")
        if judged is not None and threshold is not None
        else None,
    )


def reported(*measures: MonitoredMeasure, **values: object) -> MonitorReport:
    report = MonitorReport(
        environment="production",
        model=None,
        from_at="2026-11-29T18:00:00Z",
        to_at="2026-11-30T18:00:00Z",
        window_s=900,
        recorded=True,
        measures=measures,
        suites=(),
        by=None,
        groups=(),
    )
    return replace(report, **values)  # type: ignore[arg-type]


class Text(HTMLParser):
    """What a reader sees, and every element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said, self.tags = "", []  # type: ignore[var-annotated]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.mark.parametrize(
    ("value", "threshold", "headline"),
    [
        (9.0, 5.0, "A threshold is breached: latency p95 9 s (threshold 5 s), in production"),
        (1.0, 5.0, "All thresholds are kept: in production, over the last 15 min."),
        (5.0, 5.0, "0 of 1 thresholds are kept: of latency p95 it cannot be told"),
        (None, 5.0, "0 of 1 thresholds are kept: of latency p95 it cannot be told"),
        (9.0, None, "Nothing is judged: the config has no thresholds"),
    ],
)
def test_the_headline_is_the_verdict(
    value: float | None, threshold: float | None, headline: str
) -> None:
    page = Text(
        render_monitor_page(
            reported(measured("latency", "latency_p95", "seconds", value, threshold=threshold)),
            "24h",
        )
    )
    assert headline in page.said


def test_nothing_is_loaded_from_anywhere_and_what_is_unknown_is_no_zero() -> None:
    half = (*([0.5] * 12), *([None] * 12))
    report = reported(
        measured("accuracy", "accuracy", "share", 0.9, threshold=0.85, trend=half),
        measured("cost", "cost_total", "usd", None, trend=(None,) * 24),
        measured("usage", "requests", "count", 0, trend=(0,) * 24),
    )
    page = render_monitor_page(report, "24h")
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    text = Text(page).said
    assert "$0" not in text
    assert "No data." in text
    (path,) = re.findall(r'class="curve" d="([^"]*)"', page)[:1]
    assert path.count("L") == 11


def test_a_name_cannot_write_into_the_page() -> None:
    group = MonitoredGroup(
        name="<script>alert(1)</script>", measures=(measured("usage", "requests", "count", 3),)
    )
    report = reported(
        measured("usage", "requests", "count", 3),
        model="adapter:<img src=x>",
        by="org",
        groups=(group, replace(group, name=None)),
    )
    page = Text(render_monitor_page(report, "24h"))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.said
    assert "no org" in page.said
