"""A report of `monitor` for other programs: Prometheus' text format, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport

_SUFFIXES = {"share": "_ratio", "seconds": "_seconds", "usd": "_usd", "count": ""}
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_CSV_COLUMNS = (
    *("environment", "model", "by", "group", "measure", "unit", "from", "to"),
    *("value", "low", "high", "n", "unknown", "judged", "threshold", "verdict"),
)


def prometheus_lines(report: MonitorReport) -> Iterator[str]:
    """Gauges in the text format, as node_exporter's textfile collector reads them.

    What is unknown has no line. Names and labels are those of the project's documentation; see
    https://prometheus.io/docs/instrumenting/exposition_formats/ for the format.
    """
    for place, measure in enumerate(report.measures):
        name = f"modelyard_{measure.measure}{_SUFFIXES[measure.unit]}"
        yield f"# HELP {name} {measure.measure} since {report.from_at}"
        yield f"# TYPE {name} gauge"
        yield from _gauges(name, report, {}, measure)
        for group in report.groups:
            label = {str(report.by): group.name or ""}
            yield from _gauges(name, report, label, group.measures[place])
    if report.suites:
        name = "modelyard_suite_accuracy_ratio"
        yield f"# HELP {name} the share of right answers in the latest run of a test suite"
        yield f"# TYPE {name} gauge"
    for measure in report.suites:
        yield from _gauges(name, report, {"suite": measure.measure.partition(":")[2]}, measure)
    for measure in report.backups:
        name = f"modelyard_{measure.measure}_seconds"
        yield f"# HELP {name} how long ago the last good one ended"
        yield f"# TYPE {name} gauge"
        yield from _gauges(name, report, {}, measure)
    for what, name in (
        ("threshold", "modelyard_threshold"),
        ("judged", "modelyard_judged"),
        ("breach", "modelyard_breach"),
    ):
        yield f"# HELP {name} {_HELP[what]}"
        yield f"# TYPE {name} gauge"
        for measure in report.judged:
            value = _judged(what, measure)
            if value is not None:
                yield f"{name}{_labels(report, {'measure': measure.measure})} {value!r}"


_HELP = {
    "threshold": "the threshold of a measure",
    "judged": "the value in the window that is judged",
    "breach": "1 for a breach, 0 for ok; none when it cannot be told",
}


def csv_lines(report: MonitorReport) -> Iterator[str]:
    """One line a measure, of all requests and then of each group; what is unknown is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    every = [(None, report.rows), *((each.name, each.measures) for each in report.groups)]
    for place, (group, measures) in enumerate(every):
        for measure in measures:
            shown, judged = measure.shown, measure.judged
            writer.writerow(
                (
                    *(report.environment, report.model, report.by if place else None, group),
                    *(measure.measure, measure.unit, report.from_at, report.to_at),
                    *(shown.value, shown.low, shown.high, shown.n, shown.unknown),
                    *(judged.value if judged else None, measure.threshold, measure.verdict),
                )
            )
    yield from stream.getvalue().splitlines()


def _gauges(
    name: str, report: MonitorReport, labels: dict[str, str], measure: MonitoredMeasure
) -> Iterator[str]:
    ends = {"": measure.shown.value, "low": measure.shown.low, "high": measure.shown.high}
    for end, value in ends.items():
        if value is not None:
            shown = _labels(report, {**labels, **({"end": end} if end else {})})
            yield f"{name}{shown} {value!r}"


def _judged(what: str, measure: MonitoredMeasure) -> float | None:
    if what == "threshold":
        return measure.threshold
    if what == "judged":
        return measure.judged.value if measure.judged else None
    return {"breach": 1, "ok": 0}.get(measure.verdict or "")


def _labels(report: MonitorReport, more: dict[str, str]) -> str:
    named = {"environment": report.environment}
    named |= {"model": report.model} if report.model else {}
    shown = (f'{name}="{value.translate(_ESCAPED)}"' for name, value in {**named, **more}.items())
    return f"{{{','.join(shown)}}}"
