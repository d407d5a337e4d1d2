"""Settings, requests and answers as the modules of `answering` get and give them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelyard.answering.request import Answer, Request, UsedChunk
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.integration import (
    Budgets,
    FallbackStrategy,
    PerformanceMonitoring,
    RecordPrompts,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import BasicAnswer, LanguageModel
from modelyard.configs.kinds.performance_profiles import AnswerCache, Batching
from modelyard.configs.kinds.specialized_models import InputRules, OutputRules, Quality
from modelyard.deployments.effective_settings import Effective, EffectiveModel, EffectiveRetrieval

BUILTIN = LanguageModel(
    description="No model at all",
    provider="builtin",
    model="basic_nlp",
    context_tokens=4000,
    max_output_tokens=500,
    basic=BasicAnswer(message="Nobody can be reached.", quoted_sentences=2),
)
HOSTED = replace(BUILTIN, provider="openai", model="gpt-4.1", basic=BasicAnswer())
RETRIEVAL = EffectiveRetrieval(
    domains=("texts/docs",),
    top=3,
    max_tokens=300,
    rerank=False,
    least_similarity=None,
    required=False,
)
SCHEMA = {"type": "object", "required": ["verdict"], "properties": {"verdict": {"type": "string"}}}


def make_effective(**changes: Any) -> Effective:
    settings: dict[str, Any] = {
        "environment": "development",
        "revision": 1,
        "domain": "support",
        "specialized_model": "support",
        "profile": "balanced",
        "model": EffectiveModel(name="gpt4", settings=HOSTED),
        "fallback": (EffectiveModel(name="basic_nlp", settings=BUILTIN),),
        "kept_off": (),
        "instructions": "You answer questions of customers.\n",
        "input": InputRules(),
        "output": OutputRules(),
        "retrieval": None,
        "quality": Quality(),
        "samples": 1,
        "timeout_s": None,
        "max_cost_per_request_usd": None,
        "cache": AnswerCache(),
        "batching": Batching(),
        "strategy": "primary_first",
        "local_only": False,
        "rules": (),
        "fallback_strategy": FallbackStrategy(),
        "rate_limits": ServiceLimits(),
        "budgets": Budgets(),
        "record_prompts": RecordPrompts(),
        "monitoring": PerformanceMonitoring(),
    }
    return Effective(**{**settings, **changes})


def make_request(question: str, **more: Any) -> Request:
    return Request(messages=(Message("user", question),), **more)


def make_chunk(number: int, text: str, **more: Any) -> UsedChunk:
    values = {"index": "texts/docs", "place": f"docs/page{number}.md:{number}", "title": ""}
    return UsedChunk(number=number, text=text, **{**values, **more})


def make_answer(text: str = "Yes.", **more: Any) -> Answer:
    values = {"id": "0" * 16, "model": "gpt4", "ref": "model:gpt4", "finish": "stop"}
    return Answer(text=text, **{**values, "attempts": (), "latency_s": 0.1, **more})
