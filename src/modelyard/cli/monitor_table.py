"""The table of `models monitor`: its columns, and which of them there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelyard.charts.sparkline import render_sparkline
from modelyard.cli.live_screen import LiveTable
from modelyard.cli.render import is_unicode, width_of_table
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport
from modelyard.monitoring.wording import show_interval, show_threshold, show_value
from modelyard.settings.units import DURATION

_STYLES = {"breach": "bold red", "ok": "green", "cannot_tell": "yellow", "no_data": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One column of the table."""

    name: str
    """Its heading; `>` at the front aligns it to the right."""
    cell: Callable[[MonitoredMeasure], str]
    """What stands in it."""
    spared: int = 0
    """Where there is no room, the column with the highest number goes first; 0 stays."""


Table = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def build_table(
    measures: Sequence[MonitoredMeasure],
    since: str,
    window: str | None,
    *,
    width: int | None = None,
) -> Table:
    """The table of some measures; `window` is what is judged, None where nothing is.

    width: characters of the terminal, None for all columns.
    """
    columns = _columns(since, window)
    while True:
        names = [column.name for column in columns]
        rows = [[column.cell(measure) for column in columns] for measure in measures]
        dispensable = max(columns, key=lambda column: column.spared)
        if width is None or not dispensable.spared or width_of_table(names, rows) <= width:
            return names, rows
        columns.remove(dispensable)


def live_tables(
    report: MonitorReport, since: str, width: int, *, problem: str | None
) -> list[LiveTable]:
    """A report as it is watched, in a terminal of this width."""
    window = DURATION.show(report.window_s)
    whose = f" of {report.model}" if report.model else ""
    title = f"{report.environment}{whose} · {report.to_at[11:19]} UTC · ^C ends"
    shown = [] if problem is None else [LiveTable(title=problem, title_style="bold red")]
    shown.append(_live(title, report.rows, since, window, width))
    for group in report.groups:
        name = f"{report.by} {group.name}" if group.name else f"no {report.by}"
        shown.append(_live(name, group.measures, since, None, width))
    return shown


def _live(
    title: str, measures: Sequence[MonitoredMeasure], since: str, window: str | None, width: int
) -> LiveTable:
    names, rows = build_table(measures, since, window, width=width)
    styles = [_STYLES.get(measure.verdict or "", "") for measure in measures]
    return LiveTable(title=title, columns=names, rows=rows, last_styles=styles)


def _columns(since: str, window: str | None) -> list[_Column]:
    columns = [
        _Column(name="measure", cell=lambda each: each.measure),
        _Column(
            name=f">last {since}",
            cell=lambda each: show_value(each.shown.value, each.unit),
        ),
        _Column(
            name="95% interval", cell=lambda each: show_interval(each.shown, each.unit), spared=3
        ),
    ]
    if is_unicode():
        columns.append(
            _Column(name="trend", cell=lambda each: render_sparkline(each.trend), spared=4)
        )
    columns.append(_Column(name="of", cell=lambda each: each.shown.basis, spared=5))
    if window is not None:
        columns += [
            _Column(name=f">last {window}", cell=_judged, spared=1),
            _Column(
                name=">threshold",
                cell=lambda each: (
                    "" if each.threshold is None else show_threshold(each.threshold, each.unit)
                ),
                spared=2,
            ),
            _Column(name="verdict", cell=lambda each: (each.verdict or "").replace("_", " ")),
        ]
    return columns


def _judged(found: MonitoredMeasure) -> str:
    """A value and how many it is over, which says why it may not be possible to tell."""
    if found.judged is None:
        return ""
    value = show_value(found.judged.value, found.unit)
    return value if found.judged.value is None else f"{value} of {found.judged.n:,}"
