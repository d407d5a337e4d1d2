"""Alerts of `models monitor`: who is told, and the exit code of those that are on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelyard.cli.render import flush_results, print_lines, print_warning
from modelyard.core.errors import GateBreached, ModelyardError, NoData
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.monitoring.alerts import PRINTED, mark_told, untold_events, update_alerts
from modelyard.monitoring.notify import Target, deliver

if TYPE_CHECKING:
    from modelyard.configs.kinds.integration import PerformanceMonitoring
    from modelyard.monitoring.measures import Metric
    from modelyard.monitoring.monitor import MonitorReport


def tell_alerts(
    project: Project,
    report: MonitorReport,
    settings: PerformanceMonitoring,
    targets: Sequence[Target],
    *,
    on_change: bool,
    now_ms: int,
) -> tuple[tuple[str, ...], bool]:
    """Tell everybody of alerts: those that are on, and whether all targets took all of them."""
    if not on_change and not targets:
        return (), True
    try:
        on = update_alerts(project, report, settings, now_ms=now_ms)
        delivered = [_notify(project, report, target) for target in targets]
        if on_change:
            _print_changes(project, report)
    except ModelyardError as error:
        if on_change:
            raise
        # The verdict was printed, and is worth its own exit code.
        print_warning(f"alerts cannot be kept, and the next call tells of them: {error}")
        return (), False
    return on, all(delivered)


def _print_changes(project: Project, report: MonitorReport) -> None:
    """Print the alerts that began or ended and were not printed yet."""
    with exclusive_lock(project.lock("alerts", "printed"), what="printing of alerts", wait_s=60):
        events = untold_events(project, report, PRINTED)
        print_lines(event.text for event in events)
        flush_results()
        if events:
            mark_told(project, report, PRINTED, events[-1].number)


def _notify(project: Project, report: MonitorReport, target: Target) -> bool:
    """Deliver to a target what it was not told yet; whether nothing is left."""
    result = deliver(project, report, target)
    if result.problem is not None:
        print_warning(
            f"{counted(result.untold, 'alert')} not delivered to {target.name}: {result.problem}; "
            "the next call tries again"
        )
    return result.problem is None


def exit_as(on: Sequence[str], report: MonitorReport, allowed: Sequence[Metric]) -> None:
    """Exit as the alerts that are on say."""
    if on:
        sys.exit(GateBreached.exit_code)
    if any(each.metric not in allowed for each in report.with_verdict("no_data")):
        sys.exit(NoData.exit_code)
