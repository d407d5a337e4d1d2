"""A client that leaves ends its answer, and a service that ends lets answers come to theirs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from modelyard.access.audit_reading import export_audit
from modelyard.core.layout import Project
from served import Running, serving
from served_project import LONG_CONTEXT

TOKENS = LONG_CONTEXT - 1000


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.005)


def ask(running: Running, key: str, **fields: Any) -> HTTPConnection:
    """Send a question; the answer is not read."""
    connection = HTTPConnection(running.url.removeprefix("http://"), timeout=60)
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    path = "/v1/chat/completions"
    connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
    return connection


def statuses(running: Running) -> list[int]:
    return [row["status"] for row in export_audit(running.project) if "head" not in row]


@pytest.mark.parametrize("stream", [False, True])
def test_generation_ends_when_its_client_leaves(running: Running, stream: bool) -> None:
    answers = running.service.answers
    before = len(statuses(running))
    connection = ask(
        running, running.key("acme"), model="endless", max_tokens=TOKENS, stream=stream
    )
    until(lambda: running.service.answerer.figures().running == 1)
    if stream:
        with connection.getresponse() as response:
            assert response.read(100)
    connection.close()
    until(lambda: answers.under_way == 0)
    assert running.service.answerer.figures().running == 0
    until(lambda: len(statuses(running)) == before + 1)
    assert statuses(running)[-1] == 499


def test_running_answers_end_and_new_ones_are_refused_when_it_stops(talking: Project) -> None:
    got: list[HTTPResponse] = []

    def read(connection: HTTPConnection) -> None:
        response = connection.getresponse()
        response.read()
        got.append(response)

    with serving(talking, drain_s=60) as running:
        key = running.key("acme")
        kept = HTTPConnection(running.url.removeprefix("http://"), timeout=60)
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        slow = ask(running, key, model="endless", max_tokens=800)
        until(lambda: running.service.answerer.figures().running == 1)
        reader = threading.Thread(target=read, args=(slow,))
        reader.start()
        running.signal()
        assert running.is_draining.wait(30)
        kept.request("GET", "/v1/messages")
        late = kept.getresponse()
        assert late.status == 503 and int(late.getheader("Retry-After") or 0) > 0
        assert json.loads(late.read())["type"] == "error"
        kept.close()
    reader.join(30)
    assert [response.status for response in got] == [200]
    assert statuses(running) == [200]
    slow.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_the_end_comes_at_the_deadline_or_with_the_second_signal(
    talking: Project, signals: int
) -> None:
    began = time.monotonic()
    with serving(talking, drain_s=0.2 if signals == 1 else 600) as running:
        slow = ask(running, running.key("acme"), model="endless", max_tokens=TOKENS, stream=True)
        until(lambda: running.service.answerer.figures().running == 1)
        whole = ask(running, running.key("acme"), model="endless", max_tokens=TOKENS)
        until(lambda: running.service.answerer.figures().running == 2)
        for _ in range(signals):
            running.signal()
        refused = whole.getresponse()
        assert refused.status == 503 and int(refused.getheader("Retry-After") or 0) > 0
        with slow.getresponse() as streamed:
            assert '"code": "stopping"' in streamed.read().decode()
    slow.close()
    whole.close()
    assert time.monotonic() - began < 60
    assert statuses(running) == [503, 503]
