"""What `models monitor` says stays right while clocks, configs, processes and disks do not.

`make soak` has the large counts; `make test` a tenth of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from killed import SOAK, fork
from modelyard.cli import monitor as command
from modelyard.configs.kinds.integration import PerformanceMonitoring, SampleRetention
from modelyard.core.layout import Project
from modelyard.monitoring.alerts import update_alerts
from modelyard.monitoring.fold import fold
from modelyard.monitoring.monitor import MonitorReport, monitor
from modelyard.monitoring.notify import deliver, read_target
from modelyard.monitoring.retention import apply_retention
from modelyard.monitoring.samples import read_samples
from modelyard.monitoring.traffic_db import TRAFFIC, read_traffic
from modelyard.records.spool import Recorder
from modelyard.setup.init import init_project
from monitor_samples import judged
from small_disk import mounted_disk
from traffic_samples import numbered

Models = Callable[..., int]
WRITERS, SECONDS, KILLS = 32, min(10.0, 1.0 * SOAK), 10 if SOAK == 1 else 20 * SOAK
NOW = 1_800_000_000_000 // 3_600_000 * 3_600_000 + 1_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "project"
    init_project(folder)
    return folder


@pytest.fixture
def starter(new_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(new_project, tmp_path / "starter", symlinks=True)
    monkeypatch.chdir(tmp_path / "starter")
    return Project(tmp_path / "starter")


class Clock:
    """The clock of the command, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = NOW
        monkeypatch.setattr(command, "utc_now_ms", lambda: self.now_ms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def run(models_here: Models, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run `monitor` on the latency; its exit code and what it printed."""

    def monitored(*words: str) -> tuple[int, list[str]]:
        code = models_here("monitor", "--metrics", "latency", *words)
        return code, capsys.readouterr().out.splitlines()

    return monitored


def answered(project: Project, at_ms: int, latency_s: float, count: int = 100) -> None:
    recorder = Recorder(project)
    for number in range(count):
        facts = {"answer_id": f"{time.monotonic_ns()}-{number}", "environment": "development"}
        recorder.record(numbered(number, answered_at_ms=at_ms, latency_s=latency_s, **facts))
    recorder.close()
    assert recorder.problem is None


def thresholds(project: Project, text: str) -> None:
    """Set the thresholds of development."""
    (project.configs / "integration.yaml").write_text(
        f"""
model_integration:
  primary_models: {{language: gpt4}}
  fallback_strategy: {{order: [basic_nlp]}}
  performance_monitoring:
    window: 15 minutes
    metrics: [latency]
    alert_thresholds: {{{text}}}
"""
    )


def test_a_clock_that_is_set_back_judges_what_is_answered_since(
    starter: Project, clock: Clock, run: Any
) -> None:
    thresholds(starter, "latency: 5 seconds, for: 10 minutes")
    answered(starter, NOW, 9.0)
    assert run() == (4, run()[1])
    assert run("--on-change") == (0, [])
    clock.now_ms = NOW - 3 * HOUR
    assert run("--on-change")[0] == 5  # what is to come says nothing of the last 15 minutes
    answered(starter, clock.now_ms, 9.0)
    assert run("--on-change") == (0, [])  # the time of `for` goes on by the new clock
    clock.now_ms += 10 * MINUTE
    code, [line] = run("--on-change")
    assert (code, line[:6]) == (4, "alert:")
    answered(starter, clock.now_ms, 1.0, count=5000)
    clock.now_ms -= 5 * HOUR
    assert run("--on-change") == (4, [])  # no data ends no alert
    answered(starter, clock.now_ms, 1.0)
    assert run("--on-change") == (4, [])
    clock.now_ms += 10 * MINUTE
    code, [line] = run("--on-change")
    assert (code, line[:9]) == (0, "resolved:")


@pytest.mark.parametrize("night", ["2026-10-25", "2027-03-28"])
def test_the_night_on_which_clocks_change_is_like_any_other(
    starter: Project,
    clock: Clock,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    night: str,
) -> None:
    midnight = int(datetime.fromisoformat(night).replace(tzinfo=UTC).timestamp() * 1000)
    for minute in range(0, 300, 5):
        answered(starter, midnight + minute * MINUTE + 1, 40.0 if minute == 60 else 1.0, count=10)
    reports = []
    for zone in ("UTC", "Europe/Berlin"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        for minute in (55, 60, 62, 74, 76, 120, 200):
            clock.now_ms = midnight + minute * MINUTE + 2
            code = models_here("monitor", "--metrics", "latency,usage", "--json", "--since", "5h")
            reports.append((code, capsys.readouterr().out))
    monkeypatch.undo()
    time.tzset()
    half = len(reports) // 2
    assert reports[:half] == reports[half:]
    last = json.loads(reports[half - 1][1])["measures"][-3]
    assert (last["measure"], last["shown"]["value"]) == ("requests", 41 * 10)
    assert sum(value or 0 for value in last["trend"]) == 41 * 10


def test_thresholds_that_change_while_they_are_breached(
    starter: Project, clock: Clock, run: Any
) -> None:
    thresholds(starter, "latency: 5 seconds")
    answered(starter, NOW, 9.0)
    assert run("--on-change")[0] == 4
    thresholds(starter, "latency: 6 seconds")  # still breached, and told already
    assert run("--on-change") == (4, [])
    thresholds(starter, "latency: 12 seconds, clear_after: 5 minutes")
    assert run("--on-change") == (4, [])
    assert run()[0] == 0
    clock.now_ms += 5 * MINUTE
    code, [line] = run("--on-change")
    assert (code, line[:9]) == (0, "resolved:")
    thresholds(starter, "latency: 4 seconds, for: 2 minutes")
    assert run("--on-change") == (0, [])
    assert run()[0] == 4
    clock.now_ms += 2 * MINUTE
    assert run("--on-change")[0] == 4
    thresholds(starter, "latency: 4 seconds, latency_percentile: 50")  # another measure
    code, lines = run("--on-change")
    assert code == 4
    assert [line.split(":")[0] for line in lines] == ["alert", "resolved"]
    thresholds(starter, "for: 1 minute")
    code, [line] = run("--on-change")
    assert code == 0
    assert line == "resolved: in development latency_p50 has no threshold any more"
    assert run("--on-change") == (0, [])


def test_a_margin_keeps_an_alert_on_that_the_threshold_would_end(
    starter: Project, clock: Clock, run: Any
) -> None:
    thresholds(starter, "latency: 5 seconds, clear_margin: 10%")
    told = []
    for latency_s in (5.5, 4.8, 5.5, 4.8, 4.3, 4.8, 5.5):
        clock.now_ms += 20 * MINUTE
        answered(starter, clock.now_ms, latency_s)
        told += [line.split(":")[0] for line in run("--on-change")[1]]
    assert told == ["alert", "resolved", "alert"]


def test_a_threshold_on_what_has_no_data(starter: Project, clock: Clock, run: Any) -> None:
    thresholds(starter, "latency: 5 seconds")
    assert (run()[0], run("--on-change")[0]) == (5, 5)
    assert (run("--allow-no-data", "latency")[0]) == 0
    answered(starter, NOW, 9.0)
    assert run("--on-change")[0] == 4
    clock.now_ms += 16 * MINUTE
    assert (run()[0], run("--on-change")) == (5, (4, []))


def test_many_writers_while_it_is_asked(starter: Project, run: Any) -> None:
    thresholds(starter, "latency: 5 seconds")
    until = time.monotonic() + SECONDS
    answered(starter, time.time_ns() // 1_000_000, 9.0, count=100)
    children = [
        fork(lambda writer=writer: _write(starter, writer, until)) for writer in range(WRITERS)
    ]
    asked = 0
    while asked < 2 or time.monotonic() < until:
        assert run()[0] == 4
        asked += 1
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * WRITERS
    counts = [int((starter.root / f"count-{writer}").read_text()) for writer in range(WRITERS)]
    report = _monitored(starter)
    assert report.measures[0].shown.n == sum(counts) + 100
    print(f"{WRITERS} writers, {SECONDS:g} s: {sum(counts):,} samples, asked {asked} times")


def _write(project: Project, writer: int, until: float, *, hours: int = 1) -> None:
    """Record answers of the last hours, until then."""
    recorder, count = Recorder(project), 0
    note = os.open(project.root / f"note-{writer}", os.O_WRONLY | os.O_CREAT)
    while time.monotonic() < until:
        at_ms = time.time_ns() // 1_000_000 - count % hours * HOUR
        facts = {"answer_id": f"answer-{writer * 10**7 + count}", "environment": "development"}
        recorder.record(numbered(count, answered_at_ms=at_ms, latency_s=9.0, **facts))
        count += 1
        os.pwrite(note, b"%d" % count, 0)
    assert recorder.lost == 0
    (project.root / f"count-{writer}").write_text(str(count))


def _monitored(project: Project, **retention: Any) -> MonitorReport:
    now_ms = time.time_ns() // 1_000_000
    settings = PerformanceMonitoring(retention=SampleRetention(**retention))
    apply_retention(project, "development", settings.retention, now_ms=now_ms)
    return monitor(
        project, "development", settings, metrics=["latency"], since_s=7 * 86400, now_ms=now_ms
    )


def test_killed_writers_and_readers_lose_nothing_and_count_nothing_twice(
    starter: Project,
) -> None:
    """The readers also remove all but the last samples, over and over."""
    killed, seen = 0, 600
    for hour in range(60):
        answered(starter, time.time_ns() // 1_000_000 - hour * HOUR, 9.0, count=10)
    fold(starter)
    small = _size(starter) * 4 // 5
    for round_ in range(KILLS // 2):
        until = time.monotonic() + 60
        writer = fork(lambda round_=round_, until=until: _write(starter, round_, until, hours=90))
        reader = fork(lambda until=until: _read(starter, until, small))
        time.sleep(0.02 + round_ % 10 / 200)
        for child in (reader, writer):
            os.kill(child, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        note = starter.root / f"note-{round_}"
        noted = int(note.read_text() or 0) if note.exists() else 0
        n = _monitored(starter, size_bytes=small).measures[0].shown.n
        assert n - seen in (noted, noted + 1)  # the last one may be recorded and not noted
        seen = n
    assert killed == KILLS // 2 * 2
    kept = sum(1 for _ in read_samples(starter))
    print(f"{killed} killed, {seen:,} samples, of which {kept:,} are kept")
    assert seen > kept
    later_ms = time.time_ns() // 1_000_000 + HOUR  # those of the running hour stay until then
    apply_retention(starter, "development", SampleRetention(size_bytes=small), now_ms=later_ms)
    assert _size(starter) <= small


def _read(project: Project, until: float, size_bytes: int) -> None:
    while time.monotonic() < until:
        _monitored(project, size_bytes=size_bytes)


def _size(project: Project) -> int:
    """Bytes of traffic.db on the disk."""
    with TRAFFIC.open(project) as traffic:
        traffic.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return project.traffic_db.stat().st_size


def test_alerts_of_killed_processes_are_all_delivered_in_order(starter: Project) -> None:
    told = starter.root / "told"
    told.touch()
    target = read_target(starter, f"sh -c 'cat >> {told}'")
    settings = PerformanceMonitoring()
    thresholded = PerformanceMonitoring(
        alert_thresholds=type(settings.alert_thresholds)(latency_s=5.0)
    )

    def change_and_tell(until: float) -> None:
        turn = 0
        while time.monotonic() < until:
            report = judged(9.0 if turn % 2 else 1.0)
            update_alerts(starter, report, thresholded, now_ms=NOW)
            deliver(starter, report, target)
            turn += 1

    deliver(starter, judged(1.0), target)
    for round_ in range(KILLS // 2):
        child = fork(lambda: change_and_tell(time.monotonic() + 60))
        time.sleep(0.02 + round_ % 7 / 100)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    time.sleep(0.1)  # the command of the last one may still write
    deliver(starter, judged(1.0), target)
    numbers = [json.loads(line)["number"] for line in told.read_text().splitlines()]
    rows = read_traffic(starter, "SELECT number, is_on FROM alert_events ORDER BY number")
    assert list(dict.fromkeys(numbers)) == [row["number"] for row in rows]
    assert [row["is_on"] for row in rows] == [place % 2 == 0 for place in range(len(rows))]
    print(f"{KILLS // 2} killed, {len(rows)} alerts, {len(numbers) - len(rows)} told again")


def test_a_full_disk(
    new_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        shutil.copytree(new_project, disk / "project", symlinks=True)
        place = Project(disk / "project")
        thresholds(place, "latency: 5 seconds")
        monkeypatch.chdir(place.root)
        answered(place, time.time_ns() // 1_000_000, 1.0)
        assert run()[0] == 0
        answered(place, time.time_ns() // 1_000_000, 9.0)
        with (disk / "rest").open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(b"0" * 4096):
                pass
        assert run()[0] == 4
        assert run("--on-change") == (1, [])
        assert run("--notify", "true")[0] == 4
        lost = Recorder(place)
        for number in range(50):
            lost.record(numbered(number, environment="development"))
        assert lost.lost > 0
        assert run()[0] == 4
        (disk / "rest").unlink()
        code, [line] = run("--on-change")
        assert (code, line[:6]) == (4, "alert:")
        monkeypatch.chdir(tmp_path)
