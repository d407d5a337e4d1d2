"""Alerts: which thresholds are breached for long enough, and whether that was told already.

An alert begins when every judgement for `for` seconds was a breach, and ends when every one for as
long was ok; in between nothing is told. What cannot be told ends neither, and no data never ends an
alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.core.layout import Project
from modelyard.monitoring.measures import Verdict
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport
from modelyard.monitoring.traffic_db import change_traffic

_ALL_MODELS = ""
_STORE = (
    "INSERT OR REPLACE INTO alerts (environment, model, measure, threshold, since_ms, is_on, "
    "is_told) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_OF_REPORT = "environment = ? AND model = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The alert of one measure, whether it is on or not."""

    threshold: float
    """The threshold at the last judgement."""
    is_on: bool = False
    """Whether it is on."""
    is_told: bool = False
    """Whether the last thing that was told is that it is on."""
    since_ms: int | None = None
    """Since when judgements say otherwise than `is_on`; None: the last one did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """An alert that began or ended, and was not told yet."""

    measured: MonitoredMeasure
    """The measure."""
    is_on: bool
    """Whether it began; else it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """What a report made of the alerts."""

    on: tuple[str, ...]
    """The measures whose alert is on."""
    changes: tuple[AlertChange, ...]
    """What is to be told."""


def step_alert(
    alert: Alert, verdict: Verdict, threshold: float, *, now_ms: int, for_s: float
) -> Alert:
    """The alert after one more judgement."""
    since_ms = alert.since_ms if alert.threshold == threshold else None
    alert = replace(alert, threshold=threshold)
    if verdict == ("ok" if alert.is_on else "breach"):
        since_ms = now_ms if since_ms is None else min(since_ms, now_ms)  # the clock may go back
        if now_ms - since_ms >= for_s * 1000:
            return replace(alert, is_on=not alert.is_on, since_ms=None)
        return replace(alert, since_ms=since_ms)
    stays = verdict == "no_data" and not alert.is_on
    return replace(alert, since_ms=since_ms if stays else None)


def update_alerts(project: Project, report: MonitorReport, *, now_ms: int, for_s: float) -> Alerts:
    """Bring a report into the alerts; `mark_told` follows when the changes were told.

    A process that is killed between the two tells them again, and never not at all.
    Raises ModelyardError when traffic.db is damaged or cannot be written.
    """
    key = _key(report)
    judged = {each.measure: each for each in report.measures if each.verdict is not None}
    changes, on = [], []
    with change_traffic(project) as traffic:
        rows = traffic.execute(f"SELECT * FROM alerts WHERE {_OF_REPORT}", key).fetchall()
        known = {row["measure"]: row for row in rows}
        for name, found in judged.items():
            assert found.threshold is not None
            assert found.verdict is not None
            row = known.get(name)
            before = (
                Alert(
                    threshold=row["threshold"],
                    is_on=bool(row["is_on"]),
                    is_told=bool(row["is_told"]),
                    since_ms=row["since_ms"],
                )
                if row
                else Alert(threshold=found.threshold)
            )
            alert = step_alert(before, found.verdict, found.threshold, now_ms=now_ms, for_s=for_s)
            values = (alert.threshold, alert.since_ms, alert.is_on, alert.is_told)
            traffic.execute(_STORE, (*key, name, *values))
            on += [name] if alert.is_on else []
            if alert.is_on != alert.is_told:
                changes.append(AlertChange(measured=found, is_on=alert.is_on))
        for name in {each.measure for each in report.measures} - judged.keys():
            # There is no threshold any more.
            traffic.execute(f"DELETE FROM alerts WHERE {_OF_REPORT} AND measure = ?", (*key, name))
    return Alerts(on=tuple(on), changes=tuple(changes))


def mark_told(project: Project, report: MonitorReport, changes: Sequence[AlertChange]) -> None:
    """Record that changes were told."""
    with change_traffic(project) as traffic:
        traffic.executemany(
            f"UPDATE alerts SET is_told = ? WHERE {_OF_REPORT} AND measure = ?",
            [(each.is_on, *_key(report), each.measured.measure) for each in changes],
        )


def _key(report: MonitorReport) -> tuple[str, str]:
    return report.environment, report.model or _ALL_MODELS
