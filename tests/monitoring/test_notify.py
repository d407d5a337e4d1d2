"""Every alert reaches the command or the URL, in order, whatever fails on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelyard.configs.kinds.integration import AlertThresholds, PerformanceMonitoring
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.monitoring import notify
from modelyard.monitoring.alerts import update_alerts
from modelyard.monitoring.monitor import MonitorReport
from modelyard.monitoring.notify import Delivered, deliver, read_target
from monitor_samples import judged

SETTINGS = PerformanceMonitoring(alert_thresholds=AlertThresholds(latency_s=5.0))


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_ATTEMPT_S", 0.25)


class Receiver(ThreadingHTTPServer):
    """Takes what is posted to it; `answers` are the statuses of the next posts, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.dribbles = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/T0KEN"


class Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.dribbles:
            while True:
                self.wfile.write(b"H")
                time.sleep(0.05)
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.taken.append(document)
            self.server.tokens.append(self.headers["Authorization"])
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"no" if status != 200 else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def happen(place: Project, *latencies_s: float, **values: Any) -> MonitorReport:
    """Let reports be judged one after the other; the last one."""
    for latency_s in latencies_s:
        report = judged(latency_s, **values)
        update_alerts(place, report, SETTINGS, now_ms=time.time_ns() // 1_000_000)
    return report


def quickly(_: float) -> bool:
    return False


def test_a_url_gets_each_alert_as_json_once(place: Project, receiver: Receiver) -> None:
    target = read_target(place, receiver.url)
    report = happen(place, 9.0)
    assert deliver(place, report, target) == Delivered(told=1, untold=0, problem=None)
    assert deliver(place, report, target) == Delivered(told=0, untold=0, problem=None)
    report = happen(place, 8.0, 1.0)
    assert deliver(place, report, target).told == 1
    began, ended = receiver.taken
    assert (began["event"], ended["event"]) == ("began", "ended")
    assert began["number"] < ended["number"]
    assert (began["environment"], began["measure"]) == ("production", "latency_p95")
    assert (began["value"], began["threshold"], began["n"]) == (9.0, 5.0, 100)
    assert began["text"] == "alert: in production latency_p95 9 s (threshold 5 s)"


def test_what_began_and_ended_while_nobody_took_it_is_told_in_order(
    place: Project, receiver: Receiver
) -> None:
    target = read_target(place, receiver.url)
    deliver(place, happen(place, 1.0), target)
    receiver.answers = [500] * 3
    result = deliver(place, happen(place, 9.0), target, pause=quickly)
    assert (result.told, result.untold) == (0, 1)
    assert result.problem == "HTTP 500: no (3 attempts)"
    report = happen(place, 1.0, 9.0)
    assert deliver(place, report, target).told == 3
    assert [each["event"] for each in receiver.taken] == ["began", "ended", "began"]


def test_a_busy_url_is_asked_again_and_a_wrong_one_is_not(
    place: Project, receiver: Receiver
) -> None:
    target = read_target(place, receiver.url)
    receiver.answers = [503, 429]
    report = happen(place, 9.0)
    assert deliver(place, report, target, pause=quickly).told == 1
    for status, said in ((404, "HTTP 404: no (one attempt)"), (302, "redirects are not followed")):
        receiver.answers = [status]
        result = deliver(place, happen(place, 1.0, 9.0), target, pause=quickly)
        assert result.problem is not None
        assert said in result.problem
        assert "T0KEN" not in result.problem


def test_a_server_that_never_ends_its_answer_takes_a_bounded_time(
    place: Project, receiver: Receiver
) -> None:
    receiver.dribbles = True
    target = read_target(place, receiver.url)
    result = deliver(place, happen(place, 9.0), target, pause=quickly)
    assert result.untold == 1
    assert result.problem == "no whole answer within the time of the call (3 attempts)"
    receiver.dribbles = False


def test_a_command_gets_the_alert_on_its_stdin(place: Project, tmp_path: Path) -> None:
    target = read_target(place, f"sh -c 'cat >> {tmp_path}/alerts'")
    report = happen(place, 9.0, 1.0)
    assert deliver(place, report, target).told == 0  # it was never on for this command
    report = happen(place, 9.0)
    assert deliver(place, report, target).told == 1
    (line,) = (tmp_path / "alerts").read_text().splitlines()
    assert json.loads(line)["event"] == "began"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo it is down >&2; exit 3'", "exit code 3: it is down (3 attempts)"),
        ("sleep 30", "it did not end within 0 s (3 attempts)"),
        ("no-such-command", "it cannot be run: No such file or directory (one attempt)"),
        ("true", None),
    ],
)
def test_a_command_that_fails_is_said_and_gets_it_next_time(
    place: Project, command: str, said: str | None
) -> None:
    result = deliver(place, happen(place, 9.0), read_target(place, command), pause=quickly)
    if said is None:
        assert result == Delivered(told=1, untold=0, problem=None)
    else:
        assert result.problem is not None
        assert said in result.problem
        assert result.untold == 1


def test_who_is_new_is_told_what_is_on_and_each_is_told_of_each_environment(
    place: Project, receiver: Receiver
) -> None:
    report = happen(place, 9.0, 1.0, 9.0)
    happen(place, 9.0, environment="test")
    assert deliver(place, report, read_target(place, receiver.url)).told == 1
    assert deliver(place, judged(9.0, environment="test"), read_target(place, receiver.url)).told
    assert [each["environment"] for each in receiver.taken] == ["production", "test"]
    assert deliver(place, report, read_target(place, "true")).told == 1


def test_an_alert_without_a_threshold_any_more_ends(place: Project, receiver: Receiver) -> None:
    target = read_target(place, receiver.url)
    report = happen(place, 9.0)
    deliver(place, report, target)
    unjudged = replace(report.measures[0], judged=None, threshold=None, verdict=None)
    report = replace(report, measures=(unjudged,))
    assert update_alerts(place, report, PerformanceMonitoring(), now_ms=0) == ()
    deliver(place, report, target)
    assert receiver.taken[-1]["text"] == (
        "resolved: in production latency_p95 has no threshold any more"
    )


def test_secrets_are_references_and_never_shown(
    place: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOOK", receiver.url)
    (tmp_path / "token").write_text("s3cret-t0ken\n")
    target = read_target(place, "env:HOOK", token=f"file:{tmp_path}/token")
    assert target.name == "env:HOOK"
    receiver.answers = [401]
    result = deliver(place, happen(place, 9.0), target)
    assert result.problem is not None
    assert "s3cret" not in result.problem
    assert deliver(place, judged(9.0), target).told == 1
    assert receiver.tokens == ["Bearer s3cret-t0ken"]
    assert "T0KEN" not in read_target(place, receiver.url).name


@pytest.mark.parametrize("rest", [":99999/T0KEN", ":1/" + "T0KEN" * 20_000, ":1/T0KEN?T0KEN#x"])
def test_a_url_that_leads_nowhere_is_not_repeated(
    place: Project, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    monkeypatch.setenv("HOOK", f"http://127.0.0.1{rest}")
    result = deliver(place, happen(place, 9.0), read_target(place, "env:HOOK"), pause=quickly)
    assert result.problem is not None
    assert "T0KEN" not in result.problem


@pytest.mark.parametrize(
    ("text", "token", "said"),
    [
        ("", None, "is empty"),
        ("sh -c 'unclosed", None, "cannot be read"),
        ("https://me:secret@example.com/x", None, "is seen by everybody"),
        ("https://", None, "has no host"),
        ("true", "env:TOKEN", "is a command"),
        ("https://example.com", "t0ken", "is no reference"),
        ("http://example.com", "env:TOKEN", "only sent over https"),
        ("env:NOT_THERE", None, "there is no usable key for --notify"),
    ],
)
def test_what_is_no_target_says_what_would_be(
    place: Project, text: str, token: str | None, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        read_target(place, text, token=token)
    assert "t0ken" not in str(caught.value)
    assert "secret" not in str(caught.value)
