"""`models providers check`: what would not work is named, and the exit code says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.answering import breaker
from modelyard.answering.money.budget_report import report_budgets
from modelyard.configs.kinds.integration import Budgets, FallbackStrategy
from modelyard.core.layout import Project
from provider_calls import KEY
from provider_server import ProviderServer, chat, message, whole

Models = Callable[..., int]
PRICES = "prices: {input_per_million: $2, output_per_million: $8, cached_input_per_million: $0.50}"
CONFIGS = {
    "language_models/best": f"""\
description: The best answers
provider: openai
model: gpt-4.1
endpoint: URL
api_key: env:SOME_KEY
context_tokens: 128k
max_output_tokens: 4k
{PRICES}
environments: {{test: {{model: gpt-4.1-mini}}}}
""",
    "language_models/second": f"""\
description: Another provider
provider: anthropic
model: claude
endpoint: URL
api_key: file:key
context_tokens: 128k
max_output_tokens: 4k
{PRICES}
""",
    "language_models/near": """\
description: Our own server
provider: openai_compatible
model: qwen
endpoint: URL
context_tokens: 8k
max_output_tokens: 1k
""",
    "language_models/here": """\
description: On this machine
provider: local
model: tiny
context_tokens: 512
max_output_tokens: 100
""",
    "language_models/basic_nlp": """\
description: No model at all
provider: builtin
model: basic_nlp
context_tokens: 4k
max_output_tokens: 500
""",
    "integration": """\
model_integration:
  primary_models: {language: best}
  fallback_strategy: {order: [near, here, basic_nlp]}
""",
}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        running.routes = {
            "/v1/models/gpt-4.1": whole("200 OK", {"id": "gpt-4.1"}),
            "/v1/models/claude": whole("200 OK", {"id": "claude"}),
            "/v1/models": whole("200 OK", {"data": [{"id": "qwen"}]}),
            "/v1/messages": message("OK"),
        }
        running.answer(chat("OK"))
        yield running


@pytest.fixture
def place(project: Project, server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, text in CONFIGS.items():
        path = project.configs / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("URL", server.url))
    (project.root / "key").write_text(KEY)
    monkeypatch.setenv("SOME_KEY", KEY)
    return project


@pytest.fixture
def checked(
    models_here: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    def run(*words: str, expected: int = 0) -> dict[str, Any]:
        assert models_here("providers", "check", "--json", *words) == expected
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return {one["model"]: one for one in json.loads(printed.out)["models"]}

    return run


def states(model: dict[str, Any]) -> dict[str, str]:
    return {one["aspect"]: one["state"] for one in model["checks"]}


def test_everything_works(checked: Callable[..., dict[str, Any]], server: ProviderServer) -> None:
    found = checked()
    assert list(found) == ["basic_nlp", "best", "here", "near", "second"]
    assert all(one["works"] for one in found.values())
    assert found["best"]["used_by"] == ["requests without a domain"]
    assert found["second"]["used_by"] == []
    everything = {"key": "ok", "endpoint": "ok", "model": "ok", "price": "ok", "call": "ok"}
    (said,) = [one["said"] for one in found["best"]["checks"] if one["aspect"] == "price"]
    assert said == "as listed for gpt-4.1"
    assert states(found["best"]) == everything
    assert states(found["second"]) == {**everything, "price": "warning"}
    assert states(found["near"]) == {**everything, "price": "warning"}
    assert states(found["here"]) == {"model": "ok", "call": "ok"}
    bodies = [asked.body for asked in server.asked if asked.body]
    assert len(bodies) == 3
    assert {b.get("max_tokens") or b.get("max_completion_tokens") for b in bodies} == {1}


def test_what_a_token_costs_is_in_the_ledger(
    checked: Callable[..., dict[str, Any]], place: Project
) -> None:
    def spent_usd() -> float:
        report = report_budgets(
            place, "development", Budgets(), organisation=None, now_s=time.time()
        )
        return report.budgets[-1].spent_usd

    checked("--no-call")
    assert spent_usd() == 0
    checked()
    assert spent_usd() == pytest.approx(2 * (12 * 2 + 5 * 8) / 1e6)  # two have prices


def test_a_model_that_answers_is_called_again(
    checked: Callable[..., dict[str, Any]], place: Project
) -> None:
    """Its key was wrong, and somebody has corrected it: nobody waits for the cool-down."""
    strategy = FallbackStrategy(cool_down_s=86_400)
    for name in ("development/best", "test/best"):
        breaker.record_failure(place, name, strategy, "HTTP 401", opens_at_once=True)
    checked("--no-call")
    assert breaker.peek(place, "development/best", strategy).state == "open"
    checked()
    assert breaker.peek(place, "development/best", strategy).state == "closed"
    assert breaker.peek(place, "test/best", strategy).state == "open"


def test_no_call_generates_nothing(
    checked: Callable[..., dict[str, Any]], server: ProviderServer
) -> None:
    found = checked("--no-call")
    assert {one["checks"][-1]["state"] for one in found.values()} == {"skipped", "ok"}
    assert [asked for asked in server.asked if asked.body] == []


@pytest.mark.parametrize(
    ("path", "answer", "aspect", "said"),
    [
        ("/v1/models/gpt-4.1", whole("401 Unauthorized", {}), "key", "refuses the key"),
        ("/v1/models/gpt-4.1", whole("404 Not Found", {}), "model", "does not exist"),
        ("/v1/models/gpt-4.1", whole("503 Busy", {}), "endpoint", "HTTP 503"),
        ("/v1/chat/completions", whole("402 Payment Required", {}), "call", "HTTP 402"),
    ],
)
def test_what_is_used_and_would_not_work_is_named(
    checked: Callable[..., dict[str, Any]],
    server: ProviderServer,
    path: str,
    answer: Any,
    aspect: str,
    said: str,
) -> None:
    server.routes[path] = answer
    found = checked(expected=4)
    (failed,) = [one for one in found["best"]["checks"] if one["state"] == "failed"]
    assert failed["aspect"] == aspect and said in failed["said"]
    assert not found["best"]["works"] and found["second"]["works"]


def test_what_is_not_used_may_not_work(
    checked: Callable[..., dict[str, Any]], place: Project, server: ProviderServer
) -> None:
    (place.root / "key").unlink()
    found = checked("--no-call", expected=0)
    assert states(found["second"]) == {"key": "failed", "price": "warning"}


def test_a_model_of_this_machine_that_is_not_there(
    checked: Callable[..., dict[str, Any]], place: Project
) -> None:
    path = place.configs / "language_models" / "here.yaml"
    path.write_text(path.read_text() + "adapter: nobody\n")
    found = checked("--no-call", expected=4)
    assert "nobody" in found["here"]["checks"][0]["said"]


def test_a_server_without_the_model_in_its_list_may_answer_all_the_same(
    checked: Callable[..., dict[str, Any]], server: ProviderServer
) -> None:
    server.routes["/v1/models"] = whole("200 OK", {"data": [{"id": "other"}]})
    found = checked()
    assert states(found["near"])["model"] == "warning" and found["near"]["works"]


def test_people_see_a_table_and_what_to_correct(
    models_here: Models,
    place: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SOME_KEY")
    assert models_here("providers", "check", "--no-call") == 4
    printed = capsys.readouterr()
    assert "env:SOME_KEY: there is no usable key for the model gpt-4.1" in printed.out
    assert "second is configured, and nothing uses it." in printed.out
    assert "error: 1 model in use would not answer: best" in printed.err


def test_an_environment_without_a_deployment(
    models_here: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("providers", "check", "--env", "test") == 1
    assert "nothing is deployed to test" in capsys.readouterr().err
    assert models_here("deploy-config", "--all", "--env", "test") == 0
    capsys.readouterr()
    assert models_here("providers", "check", "--env", "test", "--no-call", "--json") == 4
    found = json.loads(capsys.readouterr().out)["models"]
    (best,) = [one for one in found if one["model"] == "best"]
    assert best["provider_model"] == "gpt-4.1-mini"


def test_a_project_without_models(
    models_here: Models, project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert models_here("providers", "check") == 5
    assert "no language models" in capsys.readouterr().err
