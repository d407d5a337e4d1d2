"""Alerts: which thresholds are breached for long enough, and who was told.

An alert begins when every judgement for `for` seconds was a breach, and ends when every one for
`clear_after` seconds was ok, by the threshold and its margin; in between nothing changes. What
cannot be told ends neither, and no data never ends an alert.

That an alert began or ended is an event, kept in the transaction in which it did. Each channel (a
reader of what is printed, a command, a URL) is told all events, in their order: what it was told
last is kept after it was told, so a killed process tells an event again, and never not at all.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace

from modelyard.configs.kinds.integration import AlertThresholds, PerformanceMonitoring
from modelyard.core.clock import utc_text
from modelyard.core.layout import Project
from modelyard.monitoring.measures import (
    Metric,
    Unit,
    Verdict,
    has_least,
    judge,
    threshold_to_clear,
)
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport, thresholds_of
from modelyard.monitoring.traffic_db import change_traffic
from modelyard.monitoring.wording import show_breach
from modelyard.results.json_form import to_json

PRINTED = ""
"""The channel of whoever reads what is printed."""
_ALL_MODELS = ""
_STORE = (
    "INSERT OR REPLACE INTO alerts (environment, model, measure, threshold, since_ms, is_on) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_OF_REPORT = "environment = ? AND model = ?"
_KEPT_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The alert of one measure, whether it is on or not."""

    threshold: float
    """The threshold at the last judgement."""
    is_on: bool = False
    """Whether it is on."""
    since_ms: int | None = None
    """Since when judgements say otherwise than `is_on`; None: the last one did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotice:
    """An alert that began or ended, as a command or a URL is given it."""

    text: str
    """All of it in one line."""
    event: str
    """`began` or `ended`."""
    at: str
    """When that was found, UTC."""
    environment: str
    """Where."""
    model: str | None
    """The model that is watched; null: all."""
    metric: Metric | None
    """What the measure is part of; null: it is no longer measured."""
    measure: str
    """What is measured."""
    unit: Unit | None
    """Its unit."""
    value: float | None
    """Its value in the window; null: it is no longer judged."""
    low: float | None
    """The low end of its 95% interval."""
    high: float | None
    """The high end."""
    n: int | None
    """Over how many requests or ratings it is."""
    threshold: float | None
    """Its threshold; null: it has none any more."""
    window_s: float
    """The seconds that are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """An alert that began or ended."""

    number: int
    """Its number: each is higher than the one before."""
    document: str
    """An AlertNotice as JSON, on one line, with the number in it as `number`."""
    text: str
    """It in one line."""


def step_alert(
    alert: Alert,
    verdict: Verdict,
    threshold: float,
    *,
    now_ms: int,
    for_s: float,
    clear_after_s: float,
) -> Alert:
    """The alert after one more judgement; of one that is on, by the threshold that clears it."""
    since_ms = alert.since_ms if alert.threshold == threshold else None
    alert = replace(alert, threshold=threshold)
    if verdict == ("ok" if alert.is_on else "breach"):
        since_ms = now_ms if since_ms is None else min(since_ms, now_ms)  # the clock may go back
        if now_ms - since_ms >= (clear_after_s if alert.is_on else for_s) * 1000:
            return replace(alert, is_on=not alert.is_on, since_ms=None)
        return replace(alert, since_ms=since_ms)
    stays = verdict == "no_data" and not alert.is_on
    return replace(alert, since_ms=since_ms if stays else None)


def update_alerts(
    project: Project, report: MonitorReport, settings: PerformanceMonitoring, *, now_ms: int
) -> tuple[str, ...]:
    """Bring a report into the alerts; the measures whose alert is on.

    An alert whose threshold the configs do not have any more ends.
    Raises ModelyardError when traffic.db is damaged or cannot be written.
    """
    key = _key(report)
    on: list[str] = []
    with change_traffic(project) as traffic:
        rows = traffic.execute(f"SELECT * FROM alerts WHERE {_OF_REPORT}", key).fetchall()
        known = {
            row["measure"]: Alert(
                threshold=row["threshold"], is_on=bool(row["is_on"]), since_ms=row["since_ms"]
            )
            for row in rows
        }
        for found in report.judged:
            if found.judged is None or found.threshold is None:
                continue
            before = known.get(found.measure, Alert(threshold=found.threshold))
            alert = _judge_again(before, found, settings.alert_thresholds, now_ms=now_ms)
            values = (alert.threshold, alert.since_ms, alert.is_on)
            traffic.execute(_STORE, (*key, found.measure, *values))
            on += [found.measure] if alert.is_on else []
            if alert.is_on != before.is_on:
                _add_event(traffic, key, _notice(report, found, is_on=alert.is_on, now_ms=now_ms))
        in_force = thresholds_of(settings)
        for measure in known.keys() - in_force.keys():
            traffic.execute(
                f"DELETE FROM alerts WHERE {_OF_REPORT} AND measure = ?", (*key, measure)
            )
            if known[measure].is_on:
                _add_event(traffic, key, _notice_without_threshold(report, measure, now_ms=now_ms))
    return tuple(on)


def untold_events(project: Project, report: MonitorReport, channel: str) -> list[AlertEvent]:
    """What a channel is to be told next, the oldest first.

    A channel that is new is told of the alerts that are on, and of what came after the first.
    """
    key = _key(report)
    with change_traffic(project) as traffic:
        traffic.execute(
            "INSERT OR IGNORE INTO alert_channels (channel, environment, model, told_to) "
            f"SELECT ?, ?, ?, coalesce((SELECT min(began) - 1 FROM (SELECT max(number) AS began "
            "FROM alert_events JOIN alerts USING (environment, model, measure) "
            f"WHERE {_OF_REPORT} AND alerts.is_on AND alert_events.is_on GROUP BY measure)), "
            "(SELECT max(number) FROM alert_events), 0)",
            (channel, *key, *key),
        )
        rows = traffic.execute(
            f"SELECT number, text, document FROM alert_events WHERE {_OF_REPORT} AND number > "
            f"(SELECT told_to FROM alert_channels WHERE channel = ? AND {_OF_REPORT}) "
            "ORDER BY number",
            (*key, channel, *key),
        ).fetchall()
    return [AlertEvent(**row) for row in rows]


def mark_told(project: Project, report: MonitorReport, channel: str, number: int) -> None:
    """Record that a channel was told all events up to this one."""
    with change_traffic(project) as traffic:
        traffic.execute(
            f"UPDATE alert_channels SET told_to = ? WHERE channel = ? AND {_OF_REPORT}",
            (number, channel, *_key(report)),
        )


def _judge_again(
    before: Alert, found: MonitoredMeasure, thresholds: AlertThresholds, *, now_ms: int
) -> Alert:
    assert found.judged is not None
    assert found.threshold is not None
    assert found.verdict is not None
    verdict, least = found.verdict, has_least(found.measure)
    if before.is_on and verdict == "ok":
        to_clear = threshold_to_clear(found.threshold, thresholds.clear_margin, least=least)
        verdict = judge(found.judged, to_clear, least=least)
    clear_after_s = thresholds.clear_after_s
    return step_alert(
        before,
        verdict,
        found.threshold,
        now_ms=now_ms,
        for_s=thresholds.for_s,
        clear_after_s=thresholds.for_s if clear_after_s is None else clear_after_s,
    )


def _notice(
    report: MonitorReport, found: MonitoredMeasure, *, is_on: bool, now_ms: int
) -> AlertNotice:
    assert found.judged is not None
    assert found.threshold is not None
    figure = found.judged
    said = show_breach(found.measure, figure.value, found.threshold, found.unit)
    return AlertNotice(
        text=f"{'alert' if is_on else 'resolved'}: {_where(report)} {said}",
        event="began" if is_on else "ended",
        at=utc_text(now_ms),
        environment=report.environment,
        model=report.model,
        metric=found.metric,
        measure=found.measure,
        unit=found.unit,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        n=figure.n,
        threshold=found.threshold,
        window_s=report.window_s,
    )


def _notice_without_threshold(report: MonitorReport, measure: str, *, now_ms: int) -> AlertNotice:
    return AlertNotice(
        text=f"resolved: {_where(report)} {measure} has no threshold any more",
        event="ended",
        at=utc_text(now_ms),
        environment=report.environment,
        model=report.model,
        metric=None,
        measure=measure,
        unit=None,
        value=None,
        low=None,
        high=None,
        n=None,
        threshold=None,
        window_s=report.window_s,
    )


def _where(report: MonitorReport) -> str:
    return f"in {report.environment}{f' of {report.model}' if report.model else ''}"


def _add_event(traffic: sqlite3.Connection, key: tuple[str, str], notice: AlertNotice) -> None:
    number = traffic.execute(
        "INSERT INTO alert_events (environment, model, measure, is_on, text, document) "
        "VALUES (?, ?, ?, ?, ?, '')",
        (*key, notice.measure, notice.event == "began", notice.text),
    ).lastrowid
    document = json.dumps({"number": number, **to_json(notice)}, ensure_ascii=False)
    traffic.execute("UPDATE alert_events SET document = ? WHERE number = ?", (document, number))
    traffic.execute(
        "DELETE FROM alert_events WHERE number <= (SELECT max(number) FROM alert_events) - ?",
        (_KEPT_EVENTS,),
    )


def _key(report: MonitorReport) -> tuple[str, str]:
    return report.environment, report.model or _ALL_MODELS
