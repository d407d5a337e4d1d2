"""`models monitor`: what is shown, what is judged, and the exit code that a cron job goes by."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.core.clock import utc_text
from modelyard.core.layout import Project
from modelyard.core.state import change_state
from modelyard.monitoring.samples import read_samples
from modelyard.records.spool import Recorder
from modelyard.setup.init import init_project
from small_disk import mounted_disk, remount
from traffic_samples import numbered

Models = Callable[..., int]
ANSWERED = {"language_model": "gpt4", "model": "model:gpt4", "cost_usd": 0.01, "output_tokens": 9}


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project, with the configs of this repository."""
    folder = tmp_path_factory.mktemp("new") / "project"
    init_project(folder)
    return folder


@pytest.fixture
def starter(new_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, as the current folder."""
    shutil.copytree(new_project, tmp_path / "starter", symlinks=True)
    monkeypatch.chdir(tmp_path / "starter")
    return Project(tmp_path / "starter")


@pytest.fixture
def monitor(models_here: Models, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run it with --json; its exit code, and its measures by name."""

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        code = models_here("monitor", *words, "--json")
        report = json.loads(capsys.readouterr().out)
        return code, {each["measure"]: each for each in report["measures"]}

    return run


def answer(project: Project, count: int, *, ago_s: float = 60, **values: Any) -> list[str]:
    """Record answers in development; their ids."""
    recorder = Recorder(project)
    ids = []
    for number in range(count):
        ids.append(f"{time.monotonic_ns()}-{number}")
        facts = {**ANSWERED, "environment": "development", "answer_id": ids[-1], **values}
        at_ms = time.time_ns() // 1_000_000 - int(ago_s * 1000)
        recorder.record(numbered(number, answered_at_ms=at_ms, **facts))
    recorder.close()
    return ids


def rate(project: Project, ids: list[str], *, good: int) -> None:
    rows = [
        Feedback(answer_id=each, rating="good" if number < good else "bad")
        for number, each in enumerate(ids)
    ]
    record_feedback(project, rows)


def test_all_is_well_when_whole_intervals_are(starter: Project, monitor: Any) -> None:
    rate(starter, answer(starter, 300), good=290)
    code, measures = monitor()
    assert code == 0
    judged = {name: each["verdict"] for name, each in measures.items() if each["verdict"]}
    assert judged == dict.fromkeys(
        ("accuracy", "latency_p95", "cost_per_request", "error_rate"), "ok"
    )
    accuracy = measures["accuracy"]["shown"]
    assert accuracy["basis"] == "rated, 290 of 300"
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert measures["latency_p95"]["judged"]["value"] == pytest.approx(0.5, rel=0.01)
    assert measures["latency_p95"]["threshold"] == 30
    assert measures["cost_total"]["shown"]["value"] == pytest.approx(3.0)
    assert measures["requests"]["shown"]["value"] == 300


def test_what_few_answers_cannot_tell_is_no_breach_and_no_failure(
    starter: Project, monitor: Any
) -> None:
    ids = answer(starter, 50)
    rate(starter, ids, good=41)  # 82%, where 85% are wanted
    code, measures = monitor("--allow-no-data", "cost")
    assert code == 0
    assert measures["accuracy"]["verdict"] == "cannot_tell"
    assert measures["latency_p95"]["shown"]["high"] is None
    assert measures["latency_p95"]["verdict"] == "cannot_tell"
    assert measures["error_rate"]["verdict"] == "cannot_tell"


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ({"latency_s": 40.0}, "latency_p95"),
        ({"cost_usd": 0.2}, "cost_per_request"),
        ({"outcome": "failed", "cost_usd": None}, "error_rate"),
        ({"outcome": "degraded"}, "error_rate"),
    ],
)
def test_a_breach_exits_with_4_and_says_what(
    values: dict[str, Any],
    broken: str,
    starter: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monitor: Any,
) -> None:
    answer(starter, 20, **values)
    code, measures = monitor()
    assert code == 4
    assert measures[broken]["verdict"] == "breach"
    assert models_here("monitor") == 4
    printed = capsys.readouterr()
    assert f"a threshold is breached: {broken}" in printed.err
    (row,) = [line for line in printed.out.splitlines() if line.strip().startswith(broken)]
    assert row.rstrip().endswith("breach")


def test_no_data_where_there_is_a_threshold_exits_with_5_unless_it_is_allowed(
    starter: Project,
    monitor: Any,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, measures = monitor()
    assert code == 5
    values = {name: each["shown"]["value"] for name, each in measures.items()}
    assert values.pop("requests") == 0
    assert set(values.values()) == {None}
    models_here("monitor")
    assert "hint: `models ask` records each answer; `models feedback add" in capsys.readouterr().err
    answer(starter, 300)
    assert models_here("monitor") == 5
    told = capsys.readouterr().err
    assert "no data to judge accuracy in the last 15 min" in told
    assert "hint: `models feedback add --answer-id ID --rating good|bad` rates one" in told
    assert models_here("monitor", "--allow-no-data", "accuracy") == 0
    assert models_here("monitor", "--metrics", "latency,cost,errors") == 0
    assert models_here("monitor", "--metrics", "latency,cost_per_request,error_rate") == 0


def test_the_window_judges_and_not_since(starter: Project, monitor: Any) -> None:
    answer(starter, 100, ago_s=3600, latency_s=50.0)
    answer(starter, 100)
    code, measures = monitor("--metrics", "latency", "--since", "2h")
    assert code == 0
    assert measures["latency_p95"]["shown"]["value"] == pytest.approx(50, rel=0.01)
    assert measures["latency_p95"]["judged"]["value"] == pytest.approx(0.5, rel=0.01)
    assert [value is not None for value in measures["latency_p95"]["trend"]].count(True) == 2


def test_a_cost_that_is_not_known_is_never_0_and_never_ok(starter: Project, monitor: Any) -> None:
    answer(starter, 100, cost_usd=None)
    code, measures = monitor("--metrics", "cost")
    assert code == 5
    assert measures["cost_per_request"]["shown"]["value"] is None
    assert measures["cost_total"]["shown"]["unknown"] == 100
    answer(starter, 100)
    code, measures = monitor("--metrics", "cost")
    assert code == 0
    shown = measures["cost_per_request"]["shown"]
    assert (shown["value"], shown["n"], shown["unknown"]) == (pytest.approx(0.01), 100, 100)
    assert measures["cost_per_request"]["verdict"] == "cannot_tell"


def test_calls_are_no_answers_and_of_several_ratings_the_last_one_counts(
    starter: Project, monitor: Any
) -> None:
    ids = answer(starter, 2)
    answer(starter, 5, kind="call", outcome="failed")
    rate(starter, ids, good=0)
    rate(starter, ids, good=1)
    _, measures = monitor("--metrics", "accuracy,usage,errors")
    assert measures["requests"]["shown"]["value"] == 2
    assert measures["error_rate"]["shown"]["value"] == 0
    assert measures["accuracy"]["shown"]["basis"] == "rated, 1 of 2"


def test_only_a_model_a_domain_or_all_of_each(
    starter: Project,
    monitor: Any,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rate(starter, answer(starter, 3, domain="translation", organisation="acme"), good=3)
    answer(starter, 2, language_model="claude", model="model:claude", organisation="other")
    answer(starter, 1, environment=None, language_model=None, model="base:smollm2-135m-instruct")
    answer(starter, 7, environment="production")
    for words, count in {
        (): 6,
        ("--model", "gpt-4"): 3,
        ("--model", "claude"): 2,
        ("--model", "domain:translation"): 3,
        ("--model", "smollm2-135m-instruct"): 1,
    }.items():
        _, measures = monitor("--metrics", "usage", *words)
        assert measures["requests"]["shown"]["value"] == count, words
    for by, counts in {
        "org": {"acme": 3, "other": 2, None: 1},
        "model": {"gpt4": 3, "claude": 2, "base:smollm2-135m-instruct": 1},
        "domain": {"translation": 3, None: 3},
    }.items():
        models_here("monitor", "--metrics", "usage,accuracy", "--by", by, "--json")
        groups = json.loads(capsys.readouterr().out)["groups"]
        found = {each["name"]: each["measures"][0]["shown"]["value"] for each in groups}
        assert found == counts
        rated = [each["measures"][-1]["shown"]["basis"] for each in groups]
        assert sorted(rated) == sorted(["no data"] * (len(groups) - 1) + ["rated, 3 of 3"])
        assert {each["verdict"] for group in groups for each in group["measures"]} == {None}


@pytest.mark.usefixtures("starter")
def test_a_model_that_does_not_exist_is_said_so(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "monitor --model lab_assistant --metrics accuracy,latency,cost"
    assert models_here(*line.split()) == 2
    printed = capsys.readouterr().err
    assert "no model is called 'lab_assistant'" in printed
    assert "gpt4" in printed


@pytest.mark.usefixtures("starter")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--metrics", "latencey"), "did you mean 'latency'"),
        (("--metrics", ""), "is no metric"),
        (("--allow-no-data", "speed"), "'speed' is no metric"),
        (("--since", "yesterday"), "is not a duration"),
        (("--since", "0s"), "is not a duration"),
        (("--json", "--format", "csv"), "are two forms"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(
    words: tuple[str, ...], said: str, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("monitor", *words) == 2
    assert said in capsys.readouterr().err


def test_a_metric_that_the_configs_leave_out_is_shown_and_not_judged(
    starter: Project, monitor: Any
) -> None:
    draft = starter.configs / "integration.yaml"
    text = draft.read_text().replace("accuracy: 85%", "")
    text = text.replace("[latency, accuracy, cost_per_request, error_rate]", "[latency]")
    text = text.replace("cost_per_request: $0.10", "").replace("error_rate: 2%", "")
    draft.write_text(text)
    answer(starter, 100)
    code, measures = monitor()
    assert code == 0
    assert [each["metric"] for each in measures.values() if each["verdict"]] == ["latency"]
    assert "error_rate" not in measures
    _, measures = monitor("--metrics", "errors")
    assert measures["error_rate"]["shown"]["value"] == 0
    assert measures["error_rate"]["verdict"] is None


def test_prometheus_and_csv_leave_out_what_is_unknown(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(starter, 100, organisation='a"b')
    assert models_here("monitor", "--format", "prometheus", "--by", "org") == 5
    lines = capsys.readouterr().out.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['modelyard_requests{environment="development",org="a\\"b"}'] == "100"
    assert values['modelyard_breach{environment="development",measure="latency_p95"}'] == "0"
    assert float(values['modelyard_error_rate_ratio{environment="development"}']) == 0
    assert not [name for name in values if "accuracy" in name and "threshold" not in name]
    assert models_here("monitor", "--format", "csv") == 5
    rows = {row["measure"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert rows["accuracy"]["value"] == ""
    assert (rows["accuracy"]["threshold"], rows["accuracy"]["verdict"]) == ("0.85", "no_data")
    assert rows["requests"]["value"] == "100"


def test_a_project_on_a_read_only_disk_is_monitored(
    new_project: Path, tmp_path: Path, monitor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        shutil.copytree(new_project, disk / "project", symlinks=True)
        place = Project(disk / "project")
        rate(place, answer(place, 100), good=100)
        remount(disk, "ro")
        monkeypatch.chdir(place.root)
        code, measures = monitor("--since", "7d")
        monkeypatch.chdir(tmp_path)
    assert code == 0
    assert measures["requests"]["shown"]["value"] == 100
    assert measures["accuracy"]["shown"]["value"] == 1


def test_an_environment_that_records_nothing_says_so(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = starter.configs / "integration.yaml"
    text = draft.read_text()
    draft.write_text(
        text.replace(
            "performance_monitoring:\n    enabled: true",
            "performance_monitoring:\n    enabled: false",
        )
    )
    assert draft.read_text() != text
    assert models_here("monitor") == 5
    assert "answers are not recorded in development" in capsys.readouterr().err


def told(
    models_here: Models, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, list[str]]:
    code = models_here("monitor", "--metrics", "latency", "--on-change", *words)
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, printed.out.splitlines()


def test_a_cron_job_speaks_once_when_an_alert_begins_and_once_when_it_ends(
    starter: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = starter.configs / "integration.yaml"
    text = draft.read_text().replace("for: 5 minutes", "for: 0 s")
    draft.write_text(text.replace("clear_after: 10 minutes", "clear_after: 0 s"))
    assert told(models_here, capsys, "--allow-no-data", "latency") == (0, [])
    assert told(models_here, capsys) == (5, [])
    answer(starter, 20, latency_s=40.0)
    code, [line] = told(models_here, capsys)
    assert code == 4
    assert line.startswith("alert: in development latency_p95 ")
    assert line.endswith("s (threshold 30 s)")
    assert told(models_here, capsys) == (4, [])
    assert told(models_here, capsys, "--model", "claude") == (5, [])
    answer(starter, 5000)
    code, [line] = told(models_here, capsys)
    assert code == 0
    assert line.startswith("resolved: in development latency_p95 ")
    assert told(models_here, capsys) == (0, [])


def test_a_breach_that_is_short_is_no_alert(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(starter, 20, latency_s=40.0)
    assert told(models_here, capsys) == (0, [])  # `for` is 5 minutes
    assert models_here("monitor", "--metrics", "latency") == 4


def test_what_was_not_told_is_told_by_the_next_one(
    starter: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = starter.configs / "integration.yaml"
    text = draft.read_text().replace("for: 5 minutes", "for: 0 s")
    draft.write_text(text.replace("clear_after: 10 minutes", "clear_after: 0 s"))
    answer(starter, 20, latency_s=40.0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modelyard.cli.monitor_alerts.print_lines", killed)
        assert models_here("monitor", "--metrics", "latency", "--on-change") == 130
    capsys.readouterr()
    assert len(told(models_here, capsys)[1]) == 1
    assert told(models_here, capsys) == (4, [])


def test_an_alert_is_given_to_a_command_and_one_that_cannot_be_stays_for_the_next_call(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    draft = starter.configs / "integration.yaml"
    draft.write_text(draft.read_text().replace("for: 5 minutes", "for: 0 s"))
    answer(starter, 200)
    words = ("monitor", "--metrics", "latency", "--notify", f"sh {tmp_path}/tell")
    (tmp_path / "tell").write_text("exit 127")
    assert models_here(*words) == 0
    answer(starter, 200, latency_s=40.0)
    assert models_here(*words) == 4
    said = capsys.readouterr().err
    assert "1 alert not delivered to sh: it ended with exit code 127" in said
    (tmp_path / "tell").write_text(f"cat >> {tmp_path}/told")
    assert models_here(*words, "--json") == 4
    assert models_here(*words) == 4
    (line,) = (tmp_path / "told").read_text().splitlines()
    assert json.loads(line)["measure"] == "latency_p95"


def test_what_cannot_be_delivered_is_a_failure_when_all_else_is_well(
    starter: Project, models_here: Models
) -> None:
    draft = starter.configs / "integration.yaml"
    text = draft.read_text().replace("for: 5 minutes", "for: 0 s")
    text = text.replace("clear_after: 10 minutes", "clear_after: 0 s")
    draft.write_text(text)
    words = ("monitor", "--metrics", "latency", "--notify", "sh -c 'exit 126'")
    answer(starter, 20, latency_s=40.0)
    assert models_here(*words) == 4
    draft.write_text(text.replace("latency: 30 seconds", "latency: 50 seconds"))
    answer(starter, 80, latency_s=40.0)
    assert models_here(*words) == 1
    assert models_here(*words, "--on-change") == 1


def test_a_call_removes_samples_that_are_too_old(starter: Project, monitor: Any) -> None:
    answer(starter, 100, ago_s=100 * 86400)
    answer(starter, 100)
    monitor("--metrics", "latency")
    assert sum(1 for _ in read_samples(starter)) == 100
    _, measures = monitor("--metrics", "usage", "--since", "200d")
    assert measures["requests"]["shown"]["value"] == 200


def test_a_page_is_written_beside_what_is_printed(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(starter, 200, latency_s=40.0)
    assert models_here("monitor", "--metrics", "latency", "--html", "page.html") == 4
    assert "latency_p95" in capsys.readouterr().out
    assert "A threshold is breached" in (starter.root / "page.html").read_text()
    for place, said in ((".", "is a folder"), ("/proc/none/page.html", "/proc/none")):
        assert models_here("monitor", "--html", place) == 2
        assert said in capsys.readouterr().err


def watched(starter: Project, columns: int, *, until: str) -> tuple[int, str]:
    """Watch on a terminal so wide, until it shows something; ^C then: exit code and screen."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    watching = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "monitor", "--watch"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=starter.root,
        env=environment,
        start_new_session=True,
    )
    os.close(follower)
    shown, is_ended = b"", False
    with suppress(OSError):  # the terminal is gone when the process is
        while piece := os.read(leader, 65_536):
            shown += piece
            if until.encode() in shown and not is_ended:
                is_ended = True
                watching.send_signal(signal.SIGINT)
    os.close(leader)
    return watching.wait(), shown.decode()


def run_suite(project: Project, suite: str, right: int, scored: int, **values: Any) -> None:
    """Keep the row of a test run of development."""
    facts = {"target": "primary", "complete": 1, "environment": "development", **values}
    started_at = utc_text(time.time_ns() // 1_000_000 - 3_600_000)
    with change_state(project) as state:
        state.execute(
            "INSERT INTO test_runs (suite, environment, target, started_at, complete, verdict, "
            "right, scored, sha256, accuracy, accuracy_low, accuracy_high) "
            "VALUES (?, ?, ?, ?, ?, 'pass', ?, ?, '', ?, ?, ?)",
            (
                *(suite, facts["environment"], facts["target"], started_at, facts["complete"]),
                *(right, scored, *facts.get("accuracy", (None, None, None))),
            ),
        )


def test_what_suites_found_stands_beside_the_ratings_and_is_never_among_them(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    rate(starter, answer(starter, 50), good=41)
    run_suite(starter, "comprehensive", 10, 60)
    run_suite(starter, "comprehensive", 41, 60, accuracy=(0.7, 0.5, 0.8))
    run_suite(starter, "comprehensive", 1, 2, complete=0)
    run_suite(starter, "comprehensive", 60, 60, environment="production")
    run_suite(starter, "quick", 0, 0)
    run_suite(starter, "quick", 12, 12, target="gpt4")
    assert models_here("monitor", "--metrics", "accuracy", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    [rated] = report["measures"]
    assert rated["shown"]["basis"] == "rated, 41 of 50"
    whole, quick = report["suites"]
    day = whole["shown"]["basis"].split()[5].rstrip(":")
    assert whole["measure"] == "suite:comprehensive"
    assert whole["shown"]["basis"] == f"suite comprehensive, run 2 of {day}: 41 of 60"
    assert quick["shown"]["basis"] == f"suite quick, run 6 of {day}, gpt4: 12 of 12"
    # As the run has it: of weighted cases, each counted once however often it was asked.
    assert [whole["shown"][key] for key in ("low", "value", "high")] == [0.5, 0.7, 0.8]
    assert [quick["shown"][key] for key in ("low", "value", "high")] == [None, 1.0, None]
    assert (whole["verdict"], whole["judged"]) == (None, None)
    assert [value for value in whole["trend"] if value is not None] == [0.7]
    models_here("monitor", "--metrics", "accuracy", "--model", "gpt4", "--json")
    [only] = json.loads(capsys.readouterr().out)["suites"]
    assert only["measure"] == "suite:quick"
    models_here("monitor", "--metrics", "accuracy", "--format", "prometheus")
    labels = '{environment="development",suite="quick"}'
    assert f"modelyard_suite_accuracy_ratio{labels} 1.0" in capsys.readouterr().out
    models_here("monitor", "--metrics", "accuracy", "--by", "model", "--format", "csv")
    assert "suite:quick,share" in capsys.readouterr().out
    models_here("monitor", "--metrics", "accuracy")
    assert "suite:comprehensive" in capsys.readouterr().out
    models_here("monitor", "--metrics", "latency", "--json")
    assert json.loads(capsys.readouterr().out)["suites"] == []


def test_what_another_answer_needed_and_what_a_test_asked_is_not_counted(
    starter: Project, monitor: Any
) -> None:
    answer(starter, 3)
    answer(starter, 1, parent_id="of-another")
    answer(starter, 1, kind="call", parent_id="of-another")
    answer(starter, 1, kind="test")
    answer(starter, 1, kind="test_call")
    for since in ("1h", "7d"):
        _, measures = monitor("--metrics", "usage,cost", "--since", since)
        assert measures["requests"]["shown"]["value"] == 3
        assert measures["cost_total"]["shown"]["value"] == pytest.approx(0.03)


@pytest.mark.parametrize("columns", [200, 60, 30])
def test_watching_fits_the_terminal_and_ends_with_0_by_an_interrupt(
    starter: Project, columns: int
) -> None:
    answer(starter, 50)
    code, shown = watched(starter, columns, until="latency")
    assert code == 0
    opened, closed = "\x1b[?1049h", "\x1b[?1049l"
    screen = shown[shown.index(opened) : shown.index(closed)]
    screen = screen.replace("\x1b[H", "\n")  # where a frame begins
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert max(map(len, plain.splitlines())) <= columns
    assert "requests" in plain
    assert ("50 answered" in plain) == (columns == 200)
    assert "Traceback" not in shown
    assert "requests" in shown[shown.index(closed) :]


@pytest.mark.usefixtures("starter")
def test_watching_needs_a_terminal(models_here: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert models_here("monitor", "--watch") == 2
    assert "needs a terminal" in capsys.readouterr().err
    assert models_here("monitor", "--watch", "--json") == 2
