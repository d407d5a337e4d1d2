"""Commands of this machine use a running service of their project, over its Unix socket."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from http.client import HTTPConnection

import pytest

from modelyard.access.audit_reading import export_audit
from modelyard.cli.service_client import RunningService
from modelyard.core.layout import Project
from served import Running, serving

Models = Callable[..., int]


def test_ask_answers_through_the_service_and_is_audited_as_the_user(
    running: Running, models_here: Models, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("ask", "--domain", "staff", "--org", "acme", "Hi") == 0
    assert capsys.readouterr().out.strip() == answer
    assert models_here("ask", "--model", "base:talking", "--json", "Hi") == 0
    assert json.loads(capsys.readouterr().out)["ref"] == "base:talking"
    rows = [row for row in export_audit(running.project) if "head" not in row]
    user = getpass.getuser()
    assert [(row["route"], row["user"], row["organisation"], row["key_id"]) for row in rows] == [
        ("POST /v1/ask", user, "acme", None),
        ("POST /v1/ask", user, None, None),
    ]


def test_errors_are_those_of_the_command_without_a_service(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (
        ("ask", "--domain", "nowhere", "Hi"),
        ("ask", "--domain", "staff", "--org", "../x", "Hi"),
        ("ask", "--model", "base:talking", "word " * 2000),
    )
    alone = [(models_here(*line), capsys.readouterr().err) for line in lines]
    with serving(talking):
        through = [(models_here(*line), capsys.readouterr().err) for line in lines]
    assert [code for code, _ in through] == [code for code, _ in alone]
    assert "nowhere" in through[0][1] and "more than the 512 of the context" in through[2][1]


def test_monitor_shows_the_queue_and_the_evictions_of_the_service(
    running: Running, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("ask", "--model", "base:talking", "Hi") == 0
    capsys.readouterr()
    models_here("monitor", "--json")
    assert json.loads(capsys.readouterr().out)["service"] == {
        "answers_running": 0,
        "requests_waiting": 0,
        "adapters": 0,
        "adapter_evictions": 0,
    }
    models_here("monitor")
    assert "Service: 0 answers running, 0 requests waiting" in capsys.readouterr().out


def test_of_a_service_that_does_not_answer_nothing_is_known(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    models_here("monitor", "--json")
    assert json.loads(capsys.readouterr().out)["service"] is None


def test_only_the_socket_lets_a_request_say_whose_it_is(running: Running) -> None:
    host = running.url.removeprefix("http://")
    for headers, status in (
        ({"modelyard-organisation": "acme"}, 401),
        ({"modelyard-organisation": "acme", "Authorization": f"Bearer {running.key('zeta')}"}, 404),
    ):
        connection = HTTPConnection(host)
        body = json.dumps({"model": "staff", "messages": [{"role": "user", "content": "Hi"}]})
        connection.request("POST", "/v1/chat/completions", body, headers)
        assert connection.getresponse().status == status
        connection.close()
    connection = HTTPConnection(host)
    connection.request("POST", "/v1/ask", "{}", {"Authorization": f"Bearer {running.key('acme')}"})
    assert connection.getresponse().status == 404
    connection.close()


def test_a_socket_that_a_killed_service_left_is_no_service(
    talking: Project, models_here: Models, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(talking):
        pass
    assert talking.service_socket("development").exists()
    assert not RunningService(talking, "development").is_there
    assert models_here("ask", "--model", "base:talking", "Hi") == 0
    assert capsys.readouterr().out.strip() == answer
