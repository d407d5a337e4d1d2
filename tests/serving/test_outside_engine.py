"""A service whose local models another engine computes, behind the API of OpenAI."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from test_leaving import ask, statuses, until

from modelyard.access.audit_reading import export_audit
from modelyard.adapters.versions import load_version
from modelyard.answering import outside_engine
from modelyard.answering.money.key_report import report_keys
from modelyard.answering.outside_engine import Engine, NotServed, OutsideEngine
from modelyard.core.layout import Project
from modelyard.serving.checking import ServiceSetting, find_obstacles
from provider_server import END, ProviderServer, chat, chat_event, chunk, endless, head, whole
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
    status, answer, retry_after = post(front, model="acme-talk")
    assert (status, answer["error"]["code"], retry_after) == (503, "model_not_served", "5")
    assert answer["error"]["message"].startswith("acme-talk@1 is not loaded in the engine")
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


def test_a_text_is_continued_by_the_engine(front: Running, engine: ProviderServer) -> None:
    lists(engine, "talking")
    events = [{"choices": [{"index": 0, "text": text}]} for text in (" upon", "")]
    events[1]["choices"][0]["finish_reason"] = "length"
    events += [{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}]
    engine.answer([head(), *(chunk(f"data: {json.dumps(each)}\n\n".encode()) for each in events),
                   chunk(b"data: [DONE]\n\n"), END])  # fmt: skip
    connection = HTTPConnection(front.url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {front.key('acme')}"}
    body = json.dumps({"model": "talking", "prompt": "Once", "max_tokens": 1, "stop": ["!"]})
    connection.request("POST", "/v1/completions", body, headers)
    with connection.getresponse() as response:
        answer = json.loads(response.read())
    connection.close()
    assert answer["choices"][0]["text"] == " upon", answer
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 1
    asked = engine.asked[-1]
    assert asked.line.startswith("POST /v1/completions ")
    assert (asked.body["prompt"], asked.body["stop"]) == ("Once", ["!"])
    assert "messages" not in asked.body


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def test_tools_and_a_form_are_asked_of_the_engine(front: Running, engine: ProviderServer) -> None:
    lists(engine, "talking")
    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    events = [chat_event({"tool_calls": [call]}), chat_event({}, "tool_calls")]
    engine.answer([head(), *map(chunk, events), END], chat('{"city": "Rome"}'))
    status, answer, _ = post(front, model="talking", tools=[TOOL], tool_choice="required")
    assert status == 200, answer
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"] == function
    assert engine.asked[-1].body["tools"] == [TOOL]
    assert engine.asked[-1].body["tool_choice"] == "required"
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
    assert post(front, model="talking", response_format=form)[0] == 200
    assert engine.asked[-1].body["response_format"]["json_schema"]["schema"] == SCHEMA


def test_what_an_engine_leaves_out_of_an_answer_is_no_fault_of_it(
    front: Running, engine: ProviderServer
) -> None:
    """A call that its template knows nothing of is a 400, and an empty text is an answer."""
    lists(engine, "talking")
    engine.answer(chat("Sunny."))
    for _ in range(4):  # more than a breaker bears
        status, answer, _ = post(front, model="talking", tools=[TOOL], tool_choice="required")
        assert (status, answer["error"]["code"]) == (400, "invalid_value")
        assert answer["error"]["param"] == "tool_choice"
        assert "without a call of a tool" in answer["error"]["message"]
    engine.answer(chat(""))
    status, answer, _ = post(front, model="talking")
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == ""


def test_an_answer_is_no_longer_than_the_engines_context(
    front: Running, engine: ProviderServer
) -> None:
    rows = [{"id": "talking", "max_model_len": 128}, {"id": "acme-talk", "parent": "talking"}]
    engine.routes["/v1/models"] = whole("200 OK", {"data": rows})
    engine.answer(chat("Good day"))
    for name in ("talking", "acme-talk"):
        assert post(front, model=name, max_tokens=500)[0] == 200
        assert 64 < engine.asked[-1].body["max_tokens"] < 100
    status, answer, _ = post(front, model="talking", messages=[user("word " * 400)])
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_keys_budget_is_spent_by_what_the_engine_reports(
    talking: Project, engine: ProviderServer
) -> None:
    lists(engine, "talking")
    house = talking.configs / "language_models" / "house.yaml"
    prices = "{input_per_million: $1000, output_per_million: $1000}"
    house.write_text(f"{house.read_text()}prices: {prices}\n")
    engine.answer(chat("Good day"))  # of 17 tokens: $0.017
    with serving(talking, outside=OutsideEngine(talking, Engine(url=engine.url))) as front:
        rich, poor = front.key("acme", per_month_usd=1), front.key("acme", per_month_usd=0.05)

        def status(key: str) -> int:
            connection = ask(front, key, model="staff", max_tokens=40)
            with connection.getresponse() as response:
                response.read()
            connection.close()
            return response.status

        assert [status(rich) for _ in range(3)] == [200] * 3
        asked = len(engine.asked)
        assert status(poor) == 429  # the answer could cost more: nobody is asked
        assert len(engine.asked) == asked
    found = {
        each.key.per_month_usd: each for each in report_keys(talking, "acme", now_s=time.time())
    }
    spent = [(each.spent_this_month_usd, each.reserved_usd) for each in (found[1], found[0.05])]
    assert spent == [(pytest.approx(3 * 0.017), 0), (0, 0)]


def test_an_engine_that_hangs_is_waited_for_by_one(
    talking: Project, engine: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_engine, "_LIST_TIMEOUT_S", 0.6)
    outside = OutsideEngine(talking, Engine(url=engine.url))
    lists(engine, "talking")
    assert set(outside.contexts()) == {"talking"}
    monkeypatch.setattr(outside_engine.time, "monotonic", lambda: time.perf_counter() + 10**6)
    engine.routes["/v1/models"] = [30.0]
    asking = threading.Thread(target=lambda: suppressed(outside.contexts))
    asking.start()
    until(lambda: outside._asking.locked())
    assert set(outside.contexts()) == {"talking"}  # at once: another asks
    asking.join()
    asked = len(engine.asked)
    with pytest.raises(NotServed, match="does not list its models"):
        outside.contexts()
    assert len(engine.asked) == asked


def suppressed(work: Callable[[], object]) -> None:
    with suppress(NotServed):
        work()


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
