"""`models monitor`: whether what is answered is good, fast and cheap enough."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from modelyard.cli.live_screen import live_screen
from modelyard.cli.options import Environment, HtmlFile, Json, chosen_environment
from modelyard.cli.render import (
    flush_results,
    print_json,
    print_lines,
    print_note,
    print_table,
    print_text,
    print_title,
    print_warning,
)
from modelyard.core.clock import utc_now_ms
from modelyard.core.errors import (
    GateBreached,
    InvalidInput,
    ModelyardError,
    NoData,
    did_you_mean,
)
from modelyard.core.given_paths import require_file_place, write_given_file
from modelyard.core.layout import Project, find_project
from modelyard.core.os_errors import NoSpace
from modelyard.core.wording import counted, day_and_time
from modelyard.settings.units import DURATION

if TYPE_CHECKING:
    from modelyard.configs.kinds.integration import ModelIntegration, PerformanceMonitoring
    from modelyard.monitoring.measures import Metric
    from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport, ServiceNow
    from modelyard.monitoring.periods import GroupBy

_METRICS = "accuracy, latency, cost, usage, errors, backups"
_AS_CONFIGURED = {"cost_per_request": "cost", "error_rate": "errors"}
"""The words of `performance_monitoring.metrics` that are others here."""


def monitor(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="REF",
            help="Only answers of this base, adapter or language model, or for this domain.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="METRIC,...",
            help=f"Of {_METRICS}. Default: those of the configs, and usage.",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="How far back to show.")
    ] = "24h",
    by: Annotated[
        Literal["org", "model", "adapter", "profile", "domain", "variant"] | None,
        typer.Option("--by", help="Show each of these too; they are not judged."),
    ] = None,
    format: Annotated[
        Literal["text", "prometheus", "csv"],
        typer.Option("--format", help="The form of the result."),
    ] = "text",
    allow_no_data: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-no-data",
            metavar="METRIC",
            help="A metric that may have no data; can be given several times.",
        ),
    ] = None,
    on_change: Annotated[
        bool,
        typer.Option(
            "--on-change", help="Print only alerts that begin or end, each once; for cron."
        ),
    ] = False,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            "--notify",
            metavar="CMD|URL",
            help="Give alerts that begin or end as JSON to this command's stdin, or POST them to "
            "this URL; or to what env:NAME or file:PATH holds. Can be given several times.",
        ),
    ] = None,
    notify_token: Annotated[
        str | None,
        typer.Option(
            "--notify-token",
            metavar="env:NAME|file:PATH",
            help="Where the token is that is sent to the URL as `Authorization: Bearer`.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it on the whole terminal, anew every 5 s; ^C ends it."),
    ] = False,
    html: HtmlFile = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Judge what was answered: quality, latency, cost, errors.

    Shown is what was answered since --since. Judged is the `window` of `performance_monitoring`
    in the integration config, with its `alert_thresholds`. Every value has its 95% interval, and a
    threshold is breached, or kept, only when the whole interval says so; else it cannot be told.

    Accuracy is what people rated with `models feedback add --answer-id`, and beside it what the
    latest run of each test suite found. What is unknown, such as a cost without a price, is never
    0. With the cost come warnings of budgets that are nearly spent. Of the project, whatever the
    environment, the age of the last good backup and of the last good drill are shown.

    With --on-change or --notify an alert begins when a threshold is breached at every call for as
    long as `for` says, and ends when it is kept for as long as `clear_after` says. No data never
    ends one. What --notify cannot deliver is delivered by the next call.

    Exit code 4: a threshold is breached; with --on-change, an alert is on. Exit code 5: none is,
    and a metric with a threshold has no data in the window. Exit code 1: neither, and an alert
    could not be delivered.

    \b
    models monitor --env production
    models monitor --model gpt4 --metrics accuracy,latency,cost --since 7d
    models monitor --by org --json
    models monitor --format prometheus > monitor.prom
    models monitor --env production --on-change --notify env:ALERTS_URL
    """
    from modelyard.cli.monitor_alerts import exit_as, tell_alerts
    from modelyard.monitoring.notify import read_target

    if as_json and format != "text":
        raise InvalidInput(f"--json and --format {format} are two forms", hint="leave one out")
    if on_change and (as_json or format != "text" or by is not None):
        raise InvalidInput(
            "--on-change prints only what changed", hint="leave --json, --format and --by out"
        )
    chosen = _metrics_named(metrics.split(","), "--metrics") if metrics is not None else None
    allowed = _metrics_named(allow_no_data or (), "--allow-no-data")
    since_s = DURATION.parse(since)
    if since_s is None or not 1 <= since_s <= _LONGEST_S:
        raise InvalidInput(
            f"--since {since!r} is not a duration from a second to ten years",
            hint="such as " + ", ".join(DURATION.examples),
        )
    if notify_token is not None and not notify:
        raise InvalidInput("--notify-token is for --notify URL", hint="give the URL")
    if watch and (as_json or format != "text" or on_change or notify or html):
        raise InvalidInput(
            "--watch only shows",
            hint="leave --json, --format, --on-change, --notify and --html out",
        )
    if html is not None:
        require_file_place(html)
    project = find_project()
    targets = [read_target(project, text, token=notify_token) for text in notify or ()]
    asked = _Asked(
        project=project,
        environment=chosen_environment(project, environment),
        model=model,
        metrics=chosen,
        since_s=since_s,
        by=by,
    )
    if watch:
        _watch(asked, since)
        return
    joint, settings, report, now_ms = asked.take()
    if not on_change:
        if joint and model is None and any(each.metric == "cost" for each in report.measures):
            _warn_of_budgets(asked, joint)
        _show(report, since, "json" if as_json else format)
    on, delivered = tell_alerts(
        project, report, settings, targets, on_change=on_change, now_ms=now_ms
    )
    if html is not None:
        from modelyard.monitoring.page import render_monitor_page

        write_given_file(html, render_monitor_page(report, since))
    _remove_old_samples(asked, settings, now_ms)
    if on_change:
        exit_as(on, report, allowed)
    else:
        _conclude(report, allowed)
    if not delivered:
        sys.exit(ModelyardError.exit_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is to be monitored."""

    project: Project
    environment: str
    model: str | None
    metrics: Sequence[Metric] | None
    since_s: float
    by: GroupBy | None

    def take(self) -> tuple[ModelIntegration | None, PerformanceMonitoring, MonitorReport, int]:
        """The settings as they are now, what is measured, and when that was."""
        from modelyard.configs.kinds.integration import PerformanceMonitoring
        from modelyard.deployments.effective import load_integration
        from modelyard.monitoring.monitor import monitor

        integration = load_integration(self.environment, project=self.project)
        joint = integration.model_integration if integration else None
        settings = joint.performance_monitoring if joint else PerformanceMonitoring()
        now_ms = utc_now_ms()
        by_variant = self.by == "variant"
        report = monitor(
            self.project,
            self.environment,
            settings,
            model=self.model,
            metrics=self.metrics,
            since_s=self.since_s,
            by=self.by,
            ab_test=joint.ab_test.name if joint and joint.ab_test and by_variant else None,
            now_ms=now_ms,
        )
        report = replace(report, service=_service_now(self.project, self.environment))
        return joint, settings, report, now_ms


def _service_now(project: Project, environment: str) -> ServiceNow | None:
    """What the service of this environment does, where one answers."""
    from modelyard.cli.service_client import RunningService
    from modelyard.monitoring.monitor import ServiceNow

    found = RunningService(project, environment).get("/v1/service") or {}
    counts = [
        found.get(name) for name in ("answers_running", "requests_waiting", "adapter_evictions")
    ]
    adapters = found.get("adapters")
    if not isinstance(adapters, list) or not all(isinstance(count, int) for count in counts):
        return None
    running, waiting, evictions = (int(count or 0) for count in counts)
    return ServiceNow(
        answers_running=running,
        requests_waiting=waiting,
        adapters=len(adapters),
        adapter_evictions=evictions,
    )


def _warn_of_budgets(asked: _Asked, joint: ModelIntegration) -> None:
    from modelyard.answering.money.budget_report import report_budgets

    spending = report_budgets(
        asked.project, asked.environment, joint.budgets, organisation=None, now_s=time.time()
    )
    for warning in spending.warnings():
        print_warning(warning)


def _show(report: MonitorReport, since: str, form: str) -> None:
    if form == "json":
        print_json(report)
    elif form == "text":
        _print_report(report, since)
    else:
        from modelyard.monitoring.formats import csv_lines, prometheus_lines

        print_lines((csv_lines if form == "csv" else prometheus_lines)(report))
    flush_results()


def _watch(asked: _Asked, since: str) -> None:
    """Show the report anew every few seconds, until ^C; what it was last stays on the terminal."""
    from modelyard.cli.monitor_table import live_tables

    _, settings, report, now_ms = asked.take()
    problem = None
    try:
        with live_screen() as screen:
            while True:
                shown = partial(live_tables, report, since, problem=problem)
                screen.show(shown)
                _remove_old_samples(asked, settings, now_ms)
                time.sleep(_WATCH_S)
                try:
                    _, settings, report, now_ms = asked.take()
                    problem = None
                except ModelyardError as error:  # a config that is being edited, a busy disk
                    problem = str(error)
    except KeyboardInterrupt:
        _print_report(report, since)


_WATCH_S = 5.0
_LONGEST_S = 10 * 365 * 86400


def _metrics_named(words: Sequence[str], option: str) -> list[Metric]:
    from modelyard.monitoring.measures import Metric

    known = get_args(Metric)
    named = [_AS_CONFIGURED.get(word.strip(), word.strip()) for word in words]
    for word in named:
        if word not in known:
            raise InvalidInput(
                f"{option}: {word!r} is no metric{did_you_mean(word, known)}",
                hint=f"there are {_METRICS}",
            )
    return [metric for word in named for metric in known if metric == word]


def _conclude(report: MonitorReport, allowed: Sequence[Metric]) -> None:
    """Raise GateBreached for a breach, else NoData for a metric that has none and must."""
    if breaches := report.with_verdict("breach"):
        raise GateBreached(
            f"in {report.environment} a threshold is breached: "
            + ", ".join(map(_breach, breaches)),
            hint="`models monitor --by model` and the other --by show where",
        )
    missing = [each for each in report.with_verdict("no_data") if each.metric not in allowed]
    if missing:
        metrics = dict.fromkeys(each.metric for each in missing)
        first = _how_data_come(report, metrics)
        raise NoData(
            f"in {report.environment} there is no data to judge "
            f"{', '.join(each.measure for each in missing)} in the last "
            f"{DURATION.show(report.window_s)}",
            hint=first
            + "where that may be so: "
            + " ".join(f"--allow-no-data {each}" for each in metrics),
        )


def _how_data_come(report: MonitorReport, missing: Iterable[Metric]) -> str:
    """What gives data of these metrics, where nothing that is shown has any."""
    ways = []
    if not any(each.shown.n for each in report.measures):
        ways.append("`models ask` records each answer")
    if "accuracy" in missing and not any(
        each.shown.n for each in report.measures if each.metric == "accuracy"
    ):
        ways.append(
            "`models feedback add --answer-id ID --rating good|bad` rates one (ID: `models ask "
            "--explain`)"
        )
    return "".join(f"{way}; " for way in ways)


def _remove_old_samples(asked: _Asked, settings: PerformanceMonitoring, now_ms: int) -> None:
    """Keep the records small, where the disk can be written; a full one is worth a word."""
    from modelyard.monitoring.retention import apply_retention

    try:
        apply_retention(asked.project, asked.environment, settings.retention, now_ms=now_ms)
    except NoSpace as error:
        print_warning(f"old samples could not be removed: {error}")
    except ModelyardError:
        pass  # a disk that is only read, or a file in use: the next call removes them


def _breach(found: MonitoredMeasure) -> str:
    from modelyard.monitoring.wording import show_breach

    assert found.judged is not None
    assert found.threshold is not None
    return show_breach(found.measure, found.judged.value, found.threshold, found.unit)


def _print_report(report: MonitorReport, since: str) -> None:
    if not report.recorded:
        print_warning(
            f"answers are not recorded in {report.environment}: "
            "`performance_monitoring.enabled` is false"
        )
    from modelyard.cli.monitor_table import build_table

    window = DURATION.show(report.window_s)
    print_table(*build_table(report.rows, since, window))
    if (now := report.service) is not None:
        print_text(
            f"Service: {counted(now.answers_running, 'answer')} running, "
            f"{counted(now.requests_waiting, 'request')} waiting, "
            f"{counted(now.adapters, 'adapter')} in memory, "
            f"{counted(now.adapter_evictions, 'eviction')} since it began"
        )
    for group in report.groups:
        print_title(f"{report.by} {group.name}" if group.name else f"no {report.by}")
        print_table(*build_table(group.measures, since, None))
    if report.ab_test is not None:
        from modelyard.cli.variants import describe_variants

        print_title("since the A/B test began")
        print_lines(describe_variants(report.ab_test))
    whose = f" of {report.model}" if report.model else ""
    print_note(
        f"Answers{whose} in {report.environment} until {day_and_time(report.to_at)} UTC, with 95% "
        f"intervals. The last {window} are judged."
    )
