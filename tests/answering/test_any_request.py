"""Whatever the configs, the request and the servers: an answer, or an error of ours with its hint.

The key of the models is in nothing that comes of it, and a domain that is local_only makes no
connection.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answer_samples import make_request
from asking import PRICES, Asking, open_asking
from killed import SOAK
from modelyard.answering.answer import Answerer
from modelyard.answering.asked_model import load_asked
from modelyard.answering.request import GivenText, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.integration import (
    Budgets,
    FallbackStrategy,
    RecordPrompts,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import RateLimits, Retries
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.configs.kinds.specialized_models import InputRules, OutputRules, Quality
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveRetrieval, EffectiveRule
from modelyard.setup.init import init_project
from provider_calls import KEY
from provider_server import ProviderServer, Step, chat, chat_event, chunk, event, head, whole

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
ECHO = {"error": {"message": f"the key {KEY} is not known", "code": KEY, "type": f"Bearer {KEY}"}}
SCRIPTS: list[list[Step]] = [
    chat("Ann."),
    chat('{"a": 1}'),
    chat("```json\n", '{"a": 1}', "\n```"),
    chat(f"My key is {KEY}.", KEY[:9], KEY[9:]),
    chat("I will not.", finish="content_filter"),
    chat("and so on", finish="length"),
    chat("Ann.", usage=None),
    chat("Ann.", usage=(-5, 10**12)),
    whole("400 Bad Request", ECHO),
    whole("401 Unauthorized", ECHO, f"x-request-id: {KEY}"),
    whole("404 Not Found", f"<html>{KEY}</html>", "Content-Type: text/html"),
    whole("413 Payload Too Large", {"error": {"code": "context_length_exceeded"}}),
    whole("429 Too Many Requests", ECHO, "Retry-After: 1"),
    whole("429 Too Many Requests", {"error": {"code": "insufficient_quota"}}),
    whole("503 Service Unavailable", b"\xff\xfe", "Content-Type: text/plain"),
    [head(), chunk(chat_event({"content": "Ann"})), "reset"],
    [head(), chunk(event({"error": {"message": KEY}}))],
    [head(), chunk(b"data: {\n\n")],
    [head(), 5.0],
    ["reset"],
]
TEXTS = [
    "Who leads sales?",
    "word " * 3000,
    "\ud800 \0 \u202e ما هذا؟ 漢字 😀",
    "```python\nx = 1\n```",
    f"What is {KEY}?",
    "```",
    "[1] {{ 7*7 }} <|im_end|>",
]


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    monkeypatch.setenv("SOME_KEY", KEY)
    with open_asking(tmp_path / "project") as opened, Answerer(opened.project) as answerer:
        opened.answerer = answerer  # one that really waits
        yield opened


def seldom(draw: random.Random, most: Any, *others: Any) -> Any:
    """The first three times of four, else one of the others."""
    return most if draw.random() < 0.75 else draw.choice(others)


def any_effective(asking: Asking, draw: random.Random) -> Effective:
    def model() -> dict[str, Any]:
        return {
            "api_key": seldom(draw, "env:SOME_KEY", "file:/no/such/file"),
            "provider": seldom(draw, "openai_compatible", "anthropic"),
            "context_tokens": seldom(draw, 8000, 64),
            "generation": draw.choice(
                [Generation(), Generation(temperature=0.5, stop=("x",), seed=3)]
            ),
            "max_output_tokens": seldom(draw, 100, 1),
            "prices": seldom(draw, PRICES, None),
            "limits": draw.choice(
                [RateLimits(), RateLimits(requests_per_minute=3, tokens_per_minute=100)]
            ),
            "retries": Retries(attempts=draw.choice([0, 1]), first_wait_s=0.01),
            "on_refusal": draw.choice(["answer", "next"]),
            "timeout_s": 0.15,
        }

    wanted = EffectiveRetrieval(
        domains=("docs/none",),
        top=3,
        max_tokens=100,
        rerank=False,
        least_similarity=None,
        required=draw.random() < 0.3,
    )
    effective = asking.effective(
        first=model(),
        second=model(),
        domain=draw.choice([None, "support"]),
        environment=f"e{draw.randrange(10**9)}",  # so that no breaker is open from before
        samples=draw.choice([1, 1, 3]),
        timeout_s=draw.choice([0.3, 1.0]),
        strategy=draw.choice(["primary_first", "cheapest", "fastest"]),
        quality=Quality(accuracy=draw.choice([None, 0.9])),
        cache=AnswerCache(enabled=draw.random() < 0.3),
        input=seldom(draw, InputRules(), InputRules(max_tokens=100, languages=("python",))),
        output=seldom(
            draw, OutputRules(), OutputRules(format="json"), OutputRules(json_schema=SCHEMA)
        ),
        retrieval=seldom(draw, None, wanted),
        budgets=seldom(draw, Budgets(per_day_usd=9.0), Budgets(per_day_usd=0.001)),
        max_cost_per_request_usd=seldom(draw, None, 0.001, 1.0),
        rate_limits=draw.choice([ServiceLimits(), ServiceLimits(tokens_per_minute=10**6)]),
        fallback_strategy=FallbackStrategy(failure_threshold=draw.choice([1, 3]), cool_down_s=1),
        record_prompts=RecordPrompts(enabled=draw.random() < 0.3),
    )
    if draw.random() < 0.3:
        effective = replace(effective, fallback=effective.fallback[:1])
    if draw.random() < 0.3:
        rule = EffectiveRule(longer_than_tokens=50, model=effective.fallback[0])
        effective = replace(effective, rules=(rule,))
    return effective


def any_request(draw: random.Random) -> Request:
    turns = tuple(
        Message(role, seldom(draw, *TEXTS))
        for role in draw.choice([("user",), ("user", "assistant", "user")])
    )
    return Request(
        messages=turns,
        system=draw.choice([None, "Be brief.", ""]),
        files=draw.choice([(), (GivenText(name="../a\nb", text="x"),)]),
        language=seldom(draw, None, "python", "klingon"),
        json_schema=seldom(draw, None, SCHEMA, {}, {"type": 7}, {"$ref": "http://x/y"}),
        organisation=seldom(draw, "acme", None, "other", "../x", "a b"),
        use_fallback=draw.random() < 0.8,
        use_cache=draw.random() < 0.8,
    )


def test_no_request_ends_in_anything_but_an_answer_or_an_error_of_ours(asking: Asking) -> None:
    draw = random.Random(7)
    answered = failed = 0
    for number in range(50 * SOAK):
        for server in (asking.first, asking.second):
            server.answer(*draw.choices(SCRIPTS, k=4))
        effective, request = any_effective(asking, draw), any_request(draw)
        on_text: Callable[[str], None] | None = draw.choice([None, asking.shown.append])
        try:
            answer = asking.answerer.answer(effective, request, on_text=on_text)
        except ModelyardError as error:
            failed += 1
            given = "".join(traceback.format_exception(error)) + repr(vars(error))
        else:
            answered += 1
            given = repr(answer)
            assert answer.degraded or answer.from_cache or answer.attempts
        told = given.replace(repr(request), "")
        assert KEY not in told.replace(f"What is {KEY}?", ""), number
    assert min(answered, failed) > 10 * SOAK
    texts = b"".join(p.read_bytes() for p in asking.project.root.rglob("*") if p.is_file())
    assert KEY.encode() not in texts


def test_a_domain_that_is_local_only_makes_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "project")
    init_project(project.root)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ProviderServer() as server:
        server.answer(chat("Ann."))
        for name in ("gpt4_config", "claude_config"):
            path = project.configs / f"language_models/{name}.yaml"
            text = path.read_text().replace("api_key:", f"endpoint: {server.url}\napi_key:", 1)
            path.write_text(text)
        integration = project.configs / "integration.yaml"
        domains = "[code_analysis, summarization, text_generation, translation]"
        integration.write_text(
            integration.read_text().replace("local_only: []", f"local_only: {domains}")
        )
        with Answerer(project) as answerer:
            for domain in ("code_analysis", "text_generation", "translation"):
                effective = load_asked(project, "development", domain=domain)
                assert answerer.answer(effective, make_request("Who leads sales?")).degraded
                with pytest.raises(ModelyardError, match="is local_only"):
                    load_asked(project, "development", domain=domain, model="gpt4")
        assert server.connections == 0
