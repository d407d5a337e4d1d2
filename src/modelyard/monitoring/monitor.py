"""`monitor`: quality, latency, cost and use of what was answered, against the thresholds.

What is shown is over the time that was asked for; what is judged is over the window of the configs,
so that the verdict does not depend on who looks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.configs.kinds.integration import Metric as ConfiguredMetric
from modelyard.configs.kinds.integration import PerformanceMonitoring
from modelyard.core.clock import utc_text
from modelyard.core.layout import Project
from modelyard.monitoring.chosen_answers import Chosen, choose_answers
from modelyard.monitoring.measures import (
    Figure,
    Measure,
    Measured,
    Metric,
    Unit,
    Verdict,
    has_least,
    judge,
    measures_of,
)
from modelyard.monitoring.periods import GroupBy, Period, Totals, read_period
from modelyard.monitoring.ratings import Ratings, read_ratings
from modelyard.monitoring.samples import open_traffic
from modelyard.monitoring.suites import read_suites
from modelyard.monitoring.variants import VariantsCompared, compare_variants
from modelyard.records.backup_run import BackupKind, last_good_run

TREND_PIECES = 24
BACKUP_AGES: Mapping[BackupKind, str] = {"backup": "backup_age", "drill": "drill_age"}
"""What the age of the last good run of each is called."""
METRICS: Mapping[ConfiguredMetric, Metric] = {
    "accuracy": "accuracy",
    "latency": "latency",
    "cost_per_request": "cost",
    "error_rate": "errors",
}
"""What `performance_monitoring.metrics` calls each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredMeasure:
    """One measure, as it was and as it is judged."""

    metric: Metric
    """What it is part of."""
    measure: str
    """Its name, such as `latency_p95`."""
    unit: Unit
    """Its unit."""
    shown: Figure
    """Over the time that was asked for."""
    trend: tuple[float | None, ...]
    """The same in 24 pieces of that time, the oldest first; null: no data."""
    judged: Figure | None
    """Over the window that is judged; null: there is no threshold."""
    threshold: float | None
    """The threshold of the configs."""
    verdict: Verdict | None
    """What the threshold says of it; null: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredGroup:
    """The measures of one organisation, model, adapter, profile or domain; they are not judged."""

    name: str | None
    """Its name; null: the requests that have none."""
    measures: tuple[MonitoredMeasure, ...]
    """Its measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNow:
    """What a running service does at this moment, and since it began."""

    answers_running: int
    """Answers that are being given."""
    requests_waiting: int
    """Requests in its queue."""
    adapters: int
    """Adapters in memory."""
    adapter_evictions: int
    """Adapters that were dropped for others since it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What was answered in an environment, and whether it was good, fast and cheap enough."""

    environment: str
    """The environment."""
    model: str | None
    """The model that was named; null: all."""
    from_at: str
    """Since when it is shown, UTC."""
    to_at: str
    """Until when."""
    window_s: float
    """The last seconds of it, which are judged."""
    recorded: bool
    """Whether answers are recorded there; false: `performance_monitoring.enabled` says no."""
    measures: tuple[MonitoredMeasure, ...]
    """All requests together."""
    suites: tuple[MonitoredMeasure, ...]
    """Accuracy as each test suite found it last, `suite:NAME`; it is never in `measures`, and it is
    not judged here: `models performance-test` does that."""
    backups: tuple[MonitoredMeasure, ...] = ()
    """How long ago the last good backup and the last good drill were, `backup_age` and `drill_age`;
    of the whole project, whatever the environment."""
    by: GroupBy | None
    """What they are grouped by; null: they are not."""
    groups: tuple[MonitoredGroup, ...]
    """The same for each group, the one with the most requests first."""

    @property
    def rows(self) -> tuple[MonitoredMeasure, ...]:
        """Everything that is shown of all requests, what suites found, and the age of backups."""
        return (*self.measures, *self.suites, *self.backups)

    @property
    def judged(self) -> tuple[MonitoredMeasure, ...]:
        """Everything that can have a threshold."""
        return (*self.measures, *self.backups)

    service: ServiceNow | None = None
    """The service that runs in the environment; null: none answers this user, so it is unknown."""
    ab_test: VariantsCompared | None = None
    """With `--by variant` the A/B test that runs, since it began; null: none does."""

    def with_verdict(self, verdict: Verdict) -> tuple[MonitoredMeasure, ...]:
        """The measures with this verdict."""
        return tuple(each for each in self.judged if each.verdict == verdict)


def monitor(
    project: Project,
    environment: str,
    settings: PerformanceMonitoring,
    *,
    model: str | None = None,
    metrics: Sequence[Metric] | None = None,
    since_s: float,
    by: GroupBy | None = None,
    ab_test: str | None = None,
    now_ms: int,
) -> MonitorReport:
    """What was answered in the last `since_s` seconds, and what the thresholds say of the window.

    metrics: what is measured; None: what the configs say, and the use. A metric that they leave out
    is shown and not judged.
    ab_test: the name of an A/B test whose variants are compared; None: none are.
    Raises InvalidInput for a model that does not exist, ModelyardError when traffic.db or state.db
    is damaged or was written by a newer modelyard.
    """
    configured = [METRICS[metric] for metric in dict.fromkeys(settings.metrics)]
    is_default = not metrics
    metrics = list(dict.fromkeys(metrics or (*configured, "usage")))
    thresholds = settings.alert_thresholds
    measures = measures_of(metrics, thresholds.latency_percentile)
    chosen = choose_answers(project, environment, model)
    asked = Period(start_ms=now_ms - int(since_s * 1000), end_ms=now_ms + 1, pieces=TREND_PIECES)
    window = Period(start_ms=now_ms - int(settings.window_s * 1000), end_ms=now_ms + 1)
    rated = "accuracy" in metrics
    with open_traffic(project) as traffic:
        shown = _read(project, traffic, chosen, asked, None, rated=rated)[None]
        [judged] = _read(project, traffic, chosen, window, None, rated=rated)[None]
        groups = _read(project, traffic, chosen, asked, by, rated=rated) if by else {}
        compared = ab_test and compare_variants(project, traffic, chosen, ab_test)
    limits = thresholds_of(settings)
    return MonitorReport(
        environment=environment,
        model=chosen.model,
        from_at=utc_text(asked.start_ms),
        to_at=utc_text(now_ms),
        window_s=settings.window_s,
        recorded=settings.enabled,
        measures=tuple(
            _measured(measure, shown, judged, limits.get(measure.name)) for measure in measures
        ),
        suites=_suites(project, environment, chosen, asked) if rated else (),
        backups=_backups(project, limits, now_ms)
        if chosen.model is None and (is_default or "backups" in metrics)
        else (),
        by=by,
        groups=tuple(
            MonitoredGroup(
                name=name,
                measures=tuple(_measured(measure, pieces, None, None) for measure in measures),
            )
            for name, pieces in sorted(groups.items(), key=_busiest_first)
        ),
        ab_test=compared or None,
    )


def _read(
    project: Project,
    traffic: sqlite3.Connection,
    chosen: Chosen,
    period: Period,
    by: GroupBy | None,
    *,
    rated: bool,
) -> dict[str | None, list[Measured]]:
    """What was measured in each piece of a period, by group."""
    figures = read_period(traffic, chosen, period, by)
    ratings = read_ratings(project, traffic, chosen, period, by) if rated else {}
    totals = [Totals() for _ in range(period.pieces)]
    unrated = [Ratings() for _ in range(period.pieces)]
    return {
        group: [
            Measured(totals=one, ratings=other)
            for one, other in zip(
                figures.get(group, totals), ratings.get(group, unrated), strict=True
            )
        ]
        for group in (*figures, *(group for group in ratings if group not in figures))
    }


def _measured(
    measure: Measure, pieces: Sequence[Measured], judged: Measured | None, limit: float | None
) -> MonitoredMeasure:
    together = Measured(totals=Totals(), ratings=Ratings())
    for piece in pieces:
        together.totals.merge(piece.totals)
        together.ratings.add(piece.ratings)
    of_window = measure.take(judged) if judged is not None and limit is not None else None
    return MonitoredMeasure(
        metric=measure.metric,
        measure=measure.name,
        unit=measure.unit,
        shown=measure.take(together),
        trend=tuple(measure.take(piece).value for piece in pieces),
        judged=of_window,
        threshold=limit,
        verdict=judge(of_window, limit, least=has_least(measure.name))
        if of_window is not None and limit is not None
        else None,
    )


def _suites(
    project: Project, environment: str, chosen: Chosen, period: Period
) -> tuple[MonitoredMeasure, ...]:
    return tuple(
        MonitoredMeasure(
            metric="accuracy",
            measure=f"suite:{each.suite}",
            unit="share",
            shown=each.shown,
            trend=each.trend,
            judged=None,
            threshold=None,
            verdict=None,
        )
        for each in read_suites(project, environment, chosen, period)
    )


def _backups(
    project: Project, limits: Mapping[str, float], now_ms: int
) -> tuple[MonitoredMeasure, ...]:
    """The ages that have a threshold, or of which something was recorded.

    What never was is older than any threshold: its value is unknown, and a breach.
    """
    found = []
    for kind, measure in BACKUP_AGES.items():
        run, limit = last_good_run(project, kind), limits.get(measure)
        if run is None and limit is None:
            continue
        age_s = None if run is None else max(0.0, now_ms / 1000 - _seconds(run.ended_at))
        basis = f"no {kind} was recorded" if run is None else f"{run.snapshot} in {run.repository}"
        shown = Figure(
            value=age_s, low=None, high=None, n=int(run is not None), unknown=0, basis=basis
        )
        is_late = limit is not None and (age_s is None or age_s > limit)
        found.append(
            MonitoredMeasure(
                metric="backups",
                measure=measure,
                unit="seconds",
                shown=shown,
                trend=(None,) * TREND_PIECES,
                judged=None if limit is None else replace(shown, low=age_s, high=age_s),
                threshold=limit,
                verdict=None if limit is None else "breach" if is_late else "ok",
            )
        )
    return tuple(found)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def thresholds_of(settings: PerformanceMonitoring) -> Mapping[str, float]:
    """The threshold of each measure that is judged; a metric that is left out is not."""
    thresholds = settings.alert_thresholds
    given: Mapping[ConfiguredMetric, tuple[str, float | None]] = {
        "accuracy": ("accuracy", thresholds.accuracy),
        "latency": (f"latency_p{thresholds.latency_percentile}", thresholds.latency_s),
        "cost_per_request": ("cost_per_request", thresholds.cost_per_request_usd),
        "error_rate": ("error_rate", thresholds.error_rate),
    }
    judged = [each for metric, each in given.items() if metric in settings.metrics]
    judged += [("backup_age", thresholds.backup_age_s), ("drill_age", thresholds.drill_age_s)]
    return {measure: limit for measure, limit in judged if limit is not None}


def _busiest_first(group: tuple[str | None, Sequence[Measured]]) -> tuple[int, str]:
    name, pieces = group
    return -sum(piece.totals.requests() for piece in pieces), name or ""
