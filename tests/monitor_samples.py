"""Reports of `models monitor`, of which a test says what was measured."""

from __future__ import annotations

from modelyard.monitoring.measures import Figure, judge
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport


def judged(latency_s: float, *, environment: str = "production") -> MonitorReport:
    """A report of which the latency is known exactly; more than 5 s are an alert."""
    figure = Figure(
        value=latency_s, low=latency_s, high=latency_s, n=100, unknown=0, basis="100 answers"
    )
    measured = MonitoredMeasure(
        metric="latency",
        measure="latency_p95",
        unit="seconds",
        shown=figure,
        trend=(),
        judged=figure,
        threshold=5.0,
        verdict=judge(figure, 5.0, least=False),
    )
    return MonitorReport(
        environment=environment,
        model=None,
        from_at="",
        to_at="",
        window_s=900,
        recorded=True,
        measures=(measured,),
        suites=(),
        by=None,
        groups=(),
    )
