"""A service whose local models another engine computes, behind the API of OpenAI."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from test_leaving import ask, statuses, until

from modelyard.access.audit_reading import export_audit
from modelyard.adapters.versions import load_version
from modelyard.answering.outside_engine import Engine, OutsideEngine
from modelyard.core.layout import Project
from modelyard.serving.checking import ServiceSetting, find_obstacles
from provider_server import ProviderServer, chat, chat_event, chunk, endless, head, whole
from served import Running, serving


@pytest.fixture
def engine() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def front(talking: Project, engine: ProviderServer) -> Iterator[Running]:
    """A service before that engine."""
    outside = OutsideEngine(talking, Engine(url=engine.url))
    with serving(talking, outside=outside) as running:
        yield running


def lists(engine: ProviderServer, *names: str) -> None:
    data = [{"id": name, "object": "model"} for name in names]
    engine.routes["/v1/models"] = whole("200 OK", {"object": "list", "data": data})


def post(running: Running, **fields: Any) -> tuple[int, Any, str | None]:
    connection: HTTPConnection = ask(running, running.key("acme"), **fields)
    with connection.getresponse() as response:
        found = response.status, json.loads(response.read()), response.headers["Retry-After"]
    connection.close()
    return found


def last_row(running: Running) -> dict[str, Any]:
    return [row for row in export_audit(running.project) if "head" not in row][-1]


@pytest.mark.parametrize("name, is_exact", [("acme-talk@1", True), ("acme-talk", False)])
def test_an_adapter_is_asked_by_the_engines_name(
    front: Running, engine: ProviderServer, name: str, is_exact: bool
) -> None:
    lists(engine, "talking", name)
    engine.answer(chat("Good ", "day"))
    status, answer, _ = post(front, model="acme-talk", seed=7, stop=["!"], max_tokens=9)
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == "Good day"
    assert answer["model"] == "acme-talk"
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (12, 5)
    body = engine.asked[-1].body
    assert body["model"] == name
    assert (body["seed"], body["stop"]) == (7, ["!"])
    digest = load_version(front.project, "acme-talk", 1).manifest.digest
    assert last_row(front)["adapter_digest"] == (digest if is_exact else None)


def test_a_base_never_answers_for_an_adapter_that_the_engine_lacks(
    front: Running, engine: ProviderServer
) -> None:
    lists(engine, "talking", "zeta-talk@1")
    engine.answer(chat("Good day"))
    assert post(front, model="acme-talk")[0] == 503
    assert post(front, model="zeta-talk")[0] == 404
    assert post(front, model="talking")[0] == 200


def test_an_engine_that_is_down_is_503_without_its_address(
    front: Running, engine: ProviderServer
) -> None:
    engine.routes["/v1/models"] = whole("500 Oh no", "secret words of the engine")
    status, answer, retry_after = post(front, model="acme-talk")
    assert (status, answer["error"]["code"]) == (503, "no_answer")
    assert retry_after is not None
    assert str(engine.port) not in str(answer)
    assert "secret" not in str(answer)


def test_a_client_that_leaves_ends_the_request_to_the_engine(
    front: Running, engine: ProviderServer
) -> None:
    lists(engine, "acme-talk")
    engine.answer(itertools.chain([head()], endless_events()))
    connection = ask(front, front.key("acme"), model="acme-talk", stream=True)
    with connection.getresponse() as response:
        assert response.read(100)
    connection.close()
    until(lambda: front.service.answers.under_way == 0)
    until(lambda: statuses(front)[-1:] == [499])


def endless_events() -> Iterator[Any]:
    yield from endless(chunk(chat_event({"content": "more "})), 0.01)


def test_it_is_ready_while_the_engine_answers(talking: Project, engine: ProviderServer) -> None:
    def outside() -> OutsideEngine:
        return OutsideEngine(talking, Engine(url=engine.url))

    def found() -> list[str]:
        setting = ServiceSetting(environment="development", host="127.0.0.1", port=0)
        setting = replace(setting, needs_keys=False, outside=outside())
        return [each.message for each in find_obstacles(talking, setting)]

    lists(engine, "talking")
    assert found() == []
    with serving(talking, outside=outside()) as running, urlopen(f"{running.url}/readyz") as ready:
        assert ready.read() == b"ready\n"
    engine.routes["/v1/models"] = whole("500 Oh no", "{}")
    with serving(talking, outside=outside()) as running:
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{running.url}/readyz")
        assert refused.value.code == 503
        assert refused.value.read() == b"the engine does not answer\n"
    [message] = found()
    assert message.startswith("the engine does not list its models")


def test_only_chat_is_asked_of_the_engine(front: Running, engine: ProviderServer) -> None:
    connection = HTTPConnection(front.url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {front.key('acme')}"}
    body = json.dumps({"model": "talking", "prompt": "Once"})
    connection.request("POST", "/v1/completions", body, headers)
    with connection.getresponse() as response:
        assert response.status == 400
        assert json.loads(response.read())["error"]["code"] == "unsupported_model"
    connection.close()


@pytest.mark.parametrize(
    "given, where",
    [
        (["--engine-key", "env:KEY"], "--engine-key"),
        (["--engine-url", "localhost:8000"], "--engine-url"),
        (["--engine-url", "http://me:word@localhost/v1"], "--engine-url"),
        (["--engine-url", "http://localhost/v1", "--engine-key", "word"], "--engine-key"),
        (["--engine-url", "http://localhost/v1", "--base-model", "talking"], "--base-model"),
    ],
)
def test_options_that_name_no_engine_are_refused(
    talking: Project,
    models_here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    where: str,
) -> None:
    assert models_here("serve", "--check", *given) == 2
    said = capsys.readouterr().err
    assert where in said
    assert "word" not in said
