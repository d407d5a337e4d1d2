"""How old the last good backup and drill are, and what the thresholds say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.configs.kinds.integration import AlertThresholds, PerformanceMonitoring
from modelyard.core.layout import Project
from modelyard.monitoring.alerts import update_alerts
from modelyard.monitoring.formats import csv_lines, prometheus_lines
from modelyard.monitoring.monitor import MonitoredMeasure, MonitorReport, monitor
from modelyard.records.backup_run import BackupKind, BackupRun, record_backup_run

NOW_MS = 1_796_004_800_000  # 2026-11-30T02:13:20Z
DAY = 86400.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("configs", "models"):
        (tmp_path / name).mkdir()
    return Project(tmp_path)


def settings(**thresholds: float) -> PerformanceMonitoring:
    return PerformanceMonitoring(alert_thresholds=AlertThresholds(**thresholds))  # type: ignore[arg-type]


def report(project: Project, given: PerformanceMonitoring, **options: object) -> MonitorReport:
    return monitor(project, "development", given, since_s=DAY, now_ms=NOW_MS, **options)  # type: ignore[arg-type]


def record(project: Project, kind: BackupKind, day: str, *, ok: bool = True) -> None:
    run = BackupRun(
        kind=kind,
        repository="file:///backups",
        snapshot=f"2026{day.replace('-', '')}T000000Z-00000000",
        ok=ok,
        made_by="ops",
        ended_at=f"2026-{day}T02:13:20Z",
    )
    record_backup_run(project, run)


def ages(found: MonitorReport) -> dict[str, tuple[float | None, str | None]]:
    return {each.measure: (each.shown.value, each.verdict) for each in found.backups}


def test_nothing_is_shown_where_nothing_was_recorded_and_nothing_is_asked(project: Project) -> None:
    assert report(project, settings()).backups == ()


def test_the_age_of_the_last_good_run_is_shown_and_judged(project: Project) -> None:
    record(project, "backup", "11-27")
    record(project, "backup", "11-28")
    record(project, "backup", "11-29", ok=False)
    record(project, "drill", "11-20")
    assert ages(report(project, settings())) == {
        "backup_age": (2 * DAY, None),
        "drill_age": (10 * DAY, None),
    }
    found = report(project, settings(backup_age_s=1.5 * DAY, drill_age_s=35 * DAY))
    assert ages(found) == {"backup_age": (2 * DAY, "breach"), "drill_age": (10 * DAY, "ok")}
    assert [each.measure for each in found.with_verdict("breach")] == ["backup_age"]


def test_a_backup_that_never_was_is_a_breach_of_unknown_age(project: Project) -> None:
    found = report(project, settings(backup_age_s=DAY))
    assert ages(found) == {"backup_age": (None, "breach")}
    assert found.backups[0].shown.basis == "no backup was recorded"


def test_an_alert_begins_and_ends(project: Project) -> None:
    given = settings(backup_age_s=1.5 * DAY)
    record(project, "backup", "11-27")
    assert update_alerts(project, report(project, given), given, now_ms=NOW_MS) == ("backup_age",)
    record(project, "backup", "11-29")
    assert update_alerts(project, report(project, given), given, now_ms=NOW_MS + 1) == ()


def test_backups_are_of_the_project_and_not_of_a_model(project: Project) -> None:
    record(project, "backup", "11-28")
    given = settings()
    assert report(project, given, metrics=["latency"]).backups == ()
    shown = report(project, given, metrics=["backups"])
    assert [each.measure for each in shown.rows] == ["backup_age"]


def test_other_programs_get_the_ages(project: Project) -> None:
    record(project, "backup", "11-28")
    found = report(project, settings(backup_age_s=DAY))
    lines = list(prometheus_lines(found))
    assert 'modelyard_backup_age_seconds{environment="development"} 172800.0' in lines
    assert 'modelyard_breach{environment="development",measure="backup_age"} 1' in lines
    assert any(",backup_age,seconds," in line for line in csv_lines(found))
    assert isinstance(found.backups[0], MonitoredMeasure)
