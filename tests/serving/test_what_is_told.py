"""What the service says of searches, feedback, quotations and mistakes, in each API's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from modelyard.chatdata.feedback import list_feedback
from modelyard.core.layout import Project
from served import Running, serving

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
NOWHERE = """
description: A server that is away
provider: openai_compatible
model: far
endpoint: http://127.0.0.1:9
stays_local: true
context_tokens: 8k
max_output_tokens: 100
retries: {attempts: 0}
prices: {input_per_million: $0, output_per_million: $0}
"""
TURNS = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def service(talking: Project) -> Iterator[Running]:
    """A service with a domain `away`, whose only model cannot be reached."""
    configs = talking.configs
    (configs / "language_models/far.yaml").write_text(NOWHERE)
    domain = (configs / "specialized_models/staff.yaml").read_text()
    (configs / "specialized_models/away.yaml").write_text(domain.replace("house", "far"))
    integration = configs / "integration.yaml"
    integration.write_text(integration.read_text().replace("[staff]", "[staff, away]"))
    with serving(talking) as running:
        yield running


def post(running: Running, key: str, path: str, **body: Any) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{running.url}{path}", json=body, headers=headers, timeout=60)


def test_each_searches_its_own_and_hears_nothing_of_what_others_have(service: Running) -> None:
    acme, zeta = service.key("acme"), service.key("zeta")
    for key, domain, path in (
        (acme, "texts/docs", "adapter.md"),
        (zeta, "zetas/docs", "memory.md"),
    ):
        for more in ({}, {"domains": [domain], "top": 1}):
            found = post(service, key, "/v1/search", query="roll back an adapter", **more).json()
            places = [hit["path"] for hit in found["results"]]
            assert places and all(place.endswith(path) for place in places)
    refused = [
        post(service, acme, "/v1/search", query="a", domains=[name]).json()["error"]
        for name in ("zetas/docs", "zetaz/docs", "none/none")
    ]
    assert {error["code"] for error in refused} == {"domain_not_found"}
    assert len({error["message"].partition("'")[2].partition("'")[2] for error in refused}) == 1
    assert post(service, acme, "/v1/search", query="a", top=0).status_code == 400


def test_a_name_that_is_nearly_one_of_others_tells_nothing(service: Running) -> None:
    acme = service.key("acme")
    for path, body in (
        (CHAT, {"messages": TURNS}),
        ("/v1/embeddings", {"input": "a"}),
        (MESSAGES, {"messages": TURNS, "max_tokens": 5}),
    ):
        names = ("zeta-talk", "zeta-talc", "zetas", "domain:stuff", "model:hous", "base:talkin")
        for name in names:
            said = post(service, acme, path, model=name, **body)
            assert said.status_code == 404
            told = said.text.replace(name, "")
            assert not [each for each in ("zeta", "staff", "house", "mean") if each in told], told
    wrong = post(service, acme, "/v1/embeddings", model="text", input="a").json()["error"]
    assert wrong["message"].endswith("it has texts")


def test_feedback_is_on_an_answer_of_ones_own(service: Running) -> None:
    acme, zeta = service.key("acme"), service.key("zeta")
    answer = post(service, acme, CHAT, model="acme-talk", messages=TURNS, max_tokens=4).json()
    rating = {"answer_id": answer["id"], "rating": "bad"}
    for key, fields, status in (
        (zeta, rating, 404),
        (acme, {"answer_id": "chatcmpl-0", "rating": "bad"}, 404),
        (acme, {"answer_id": answer["id"]}, 400),
        (acme, rating | {"rating": "so-so"}, 400),
        (service.key("acme", scopes=("chat",)), rating, 403),
        (acme, rating | {"correction": "Hello", "prompt": "Hi"}, 200),
    ):
        assert post(service, key, "/v1/feedback", **fields).status_code == status, fields
    [row] = list_feedback(service.project)
    assert (row.org, row.rating, row.correction) == ("acme", "bad", "Hello")


def test_an_answer_that_no_model_gave_says_so_in_each_api(service: Running) -> None:
    acme = service.key("acme")
    whole = post(service, acme, CHAT, model="away", messages=TURNS)
    assert whole.status_code == 200 and whole.json()["degraded"] is True
    for path, body in (
        (CHAT, {"messages": TURNS, "stream": True}),
        (RESPONSES, {"input": "Hi"}),
        (RESPONSES, {"input": "Hi", "stream": True}),
        (MESSAGES, {"messages": TURNS, "max_tokens": 50}),
        (MESSAGES, {"messages": TURNS, "max_tokens": 50, "stream": True}),
    ):
        for model, is_degraded in (("away", True), ("staff", False)):
            said = post(service, acme, path, model=model, **body)
            assert said.status_code == 200
            assert ("degraded" in said.text) == is_degraded, said.text


def test_an_organisation_hears_no_number_of_a_slot(service: Running) -> None:
    for organisation in ("zeta", "acme"):
        key = service.key(organisation)
        name = f"{organisation}-talk"
        said = post(service, key, CHAT, model=name, messages=TURNS, max_tokens=2)
        assert said.status_code == 200
    for scopes, slot in ((("chat",), None), (("chat", "admin"), 1)):
        headers = {"Authorization": f"Bearer {service.key('acme', scopes=scopes)}"}
        told = httpx2.get(f"{service.url}/v1/service", headers=headers).json()["adapters"]
        [own] = [each for each in told if each["organisation"] == "acme"]
        assert (own["slot"], own["in_slot"]) == (slot, True)
        assert len(told) == (1 if slot is None else 2)


def test_what_is_too_long_is_named_by_its_field_and_by_how_much(service: Running) -> None:
    acme = service.key("acme")
    for path, field, body in (
        (CHAT, "max_tokens", {"messages": TURNS}),
        (CHAT, "max_completion_tokens", {"messages": TURNS}),
        ("/v1/completions", "max_tokens", {"prompt": "Hi"}),
        (RESPONSES, "max_output_tokens", {"input": "Hi"}),
    ):
        said = post(service, acme, path, model="talking", **body, **{field: 100_000})
        error = said.json()["error"]
        assert (said.status_code, error["param"]) == (400, field)
        assert error["message"].startswith(f"{field}: an answer of 100,000 tokens")
    path = service.project.configs / "specialized_models/away.yaml"
    path.write_text(path.read_text() + "input: {max_tokens: 20}\n")
    turns = [{"role": "user", "content": "word " * 200}]
    error = post(service, acme, CHAT, model="away", messages=turns).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].endswith("too many")


def test_a_wrong_schema_is_named_by_the_field_that_it_is_in(service: Running) -> None:
    acme = service.key("acme")
    schema = {"name": "a", "schema": {"type": "objekt"}}
    form = {"type": "json_schema", "json_schema": schema}
    chat = post(service, acme, CHAT, model="talking", messages=TURNS, response_format=form)
    text = {"format": {"type": "json_schema", **schema}}
    response = post(service, acme, RESPONSES, model="talking", input="Hi", text=text)
    for said, field in ((chat, "response_format"), (response, "text.format")):
        error = said.json()["error"]
        assert (said.status_code, error["param"]) == (400, field)
        assert error["message"].startswith(f"{field}: is no JSON Schema")
