"""Who is asked, in which order: rules, the strategy, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answer_samples import BUILTIN, HOSTED, make_effective
from asking import Asking, open_asking
from modelyard.answering import breaker
from modelyard.answering.input_size import InputSize
from modelyard.answering.money.worst_case import longest_output, worst_case
from modelyard.answering.route import order_models
from modelyard.answering.route_explained import RouteExplained, explain_route
from modelyard.answering.speeds import Speeds
from modelyard.configs.kinds.integration import Budgets, FallbackStrategy
from modelyard.configs.kinds.language_models import Prices, Retries
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.specialized_models import Quality
from modelyard.core.clock import utc_now_ms
from modelyard.deployments.effective_settings import Effective, EffectiveModel, EffectiveRule
from modelyard.monitoring.samples import read_samples
from modelyard.records.sample import Sample, new_answer_id
from provider_server import chat, whole

COSTS: Mapping[str, float | None] = {"dear": 0.3, "mid": 0.2, "cheap": 0.1, "unknown": None}


def named(name: str) -> EffectiveModel:
    return EffectiveModel(name=name, settings=HOSTED)


BASIC = EffectiveModel(name="basic_nlp", settings=BUILTIN)


def chain(*names: str, **changes: Any) -> Effective:
    first, *others = map(named, names)
    return make_effective(**{"model": first, "fallback": (*others, BASIC), **changes})


def order(effective: Effective, tokens: int = 100, **typical_s: float) -> list[str]:
    """Each model with the reason for its place, such as `mid cheapest`."""
    steps = order_models(
        effective, tokens, worst_cost=lambda model: COSTS[model.name], typical_s=typical_s
    )
    return [f"{step.model.name} {step.reason}" for step in steps]


def test_the_order_is_that_of_the_fallback() -> None:
    expected = ["dear primary", "mid fallback", "basic_nlp fallback"]
    assert order(chain("dear", "mid")) == expected


def test_the_first_rule_that_applies_decides_who_is_first() -> None:
    rules = (
        EffectiveRule(longer_than_tokens=1000, model=named("mid")),
        EffectiveRule(longer_than_tokens=None, model=named("cheap")),
    )
    ruled = chain("dear", "mid", rules=rules)
    assert order(ruled, 1001) == ["mid rule", "dear fallback", "basic_nlp fallback"]
    assert order(ruled, 1000)[:2] == ["cheap rule", "dear fallback"]


def test_the_cheapest_goes_by_the_worst_case() -> None:
    cheapest = chain("dear", "mid", "unknown", "cheap", strategy="cheapest")
    assert order(cheapest) == [
        "cheap cheapest",
        "mid cheapest",
        "dear cheapest",
        "unknown fallback",
        "basic_nlp fallback",
    ]


def test_no_model_of_unknown_quality_is_put_before_the_one_that_is_named() -> None:
    demanding = chain("dear", "cheap", strategy="cheapest", quality=Quality(accuracy=0.85))
    assert order(demanding)[:2] == ["dear cheapest", "cheap fallback"]
    steps = order_models(demanding, 1, worst_cost=lambda model: COSTS[model.name], typical_s={})
    assert steps[1].note == "its accuracy in support is not measured, and 85% are demanded"


def test_the_fastest_goes_by_what_was_measured_and_tries_the_others_first() -> None:
    fastest = chain("dear", "mid", "cheap", strategy="fastest")
    found = order(fastest, dear=2.0, cheap=0.5)
    assert found[:3] == ["mid fastest", "cheap fastest", "dear fastest"]


def test_an_answer_gets_what_the_context_leaves() -> None:
    settings = replace(HOSTED, context_tokens=1000, generation=Generation(max_output_tokens=400))
    assert longest_output(settings, InputSize.exact(500)) == 400
    assert longest_output(settings, InputSize.exact(700)) == 300


def test_the_worst_case_is_every_call_that_may_be_made() -> None:
    prices = Prices(input_per_million_usd=1_000_000, output_per_million_usd=10_000_000)
    settings = replace(
        HOSTED,
        prices=prices,
        retries=Retries(attempts=2),
        generation=Generation(max_output_tokens=10),
    )
    model = EffectiveModel(name="dear", settings=settings)
    size = InputSize(least=10, about=15, most=40)
    worst = worst_case(make_effective(samples=3), model, size, schema=None)
    assert (worst.calls, worst.call_usd, worst.usd) == (9, 140, 9 * 140)
    assert (worst.once.calls, worst.once.usd) == (3, 3 * 140)
    json = worst_case(make_effective(samples=3), model, size, schema={"type": "object"})
    assert json.calls == 10
    assert json.usd is not None
    assert json.usd > 10 * 140  # what is repaired has the answer in its input
    unknown = EffectiveModel(name="unknown", settings=replace(settings, prices=None))
    assert worst_case(make_effective(), unknown, size, schema=None).usd is None
    basic = worst_case(make_effective(), BASIC, size, schema=None)
    assert (basic.calls, basic.usd) == (0, 0)


# With an Answerer.


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with open_asking(tmp_path / "project") as opened:
        opened.first.answer(chat("Ann."))
        opened.second.answer(chat("Bob."))
        yield opened


def explained(asking: Asking, effective: Effective, tokens: int = 1000) -> RouteExplained:
    return explain_route(asking.answerer, effective, input_tokens=tokens)


def test_calls_of_the_last_window_say_who_is_fast(asking: Asking) -> None:
    for name, times in {"first": (3.0, 1.0, 2.0), "second": (9.0,)}.items():
        for latency_s in times:
            asking.answerer.recorder.record(
                Sample(
                    answer_id=new_answer_id(),
                    kind="call",
                    answered_at_ms=utc_now_ms() - 1000,
                    language_model=name,
                    model=f"model:{name}",
                    environment="development",
                    latency_s=latency_s,
                    outcome="answered",
                )
            )
    speeds = Speeds(asking.project)
    assert speeds.typical_s("development", 900.0) == {"first": 2.0, "second": 9.0}
    assert speeds.typical_s("production", 900.0) == {}
    steps = explained(asking, asking.effective(strategy="fastest")).asked
    assert [(step.model, step.typical_s) for step in steps[:2]] == [("first", 2.0), ("second", 9.0)]


def test_a_route_is_explained_without_a_call_or_a_change(asking: Asking) -> None:
    route = explained(asking, asking.effective(samples=2))
    assert [(step.model, step.reason) for step in route.asked] == [
        ("first", "primary"),
        ("second", "fallback"),
        ("basic_nlp", "fallback"),
    ]
    first = route.asked[0]
    assert (first.calls, first.max_output_tokens) == (2, 100)
    assert first.worst_cost_usd == pytest.approx(2 * (1000 + 10 * 100) / 1e6)
    assert asking.asked() == (0, 0)
    assert list(read_samples(asking.project)) == []


def test_whoever_is_left_out_is_named_with_the_reason(asking: Asking) -> None:
    strategy = FallbackStrategy(failure_threshold=1)
    breaker.record_failure(asking.project, "development/first", strategy, "HTTP 503")
    effective = asking.effective(
        second={"context_tokens": 900}, fallback_strategy=strategy, kept_off=("gpt4",)
    )
    route = explained(asking, effective)
    assert [(each.model, each.why) for each in route.left_out] == [
        ("gpt4", "local_only"),
        ("first", "breaker"),
        ("second", "too_long"),
    ]
    assert "1 failure in a row: HTTP 503" in route.left_out[1].reason
    limited = asking.effective(
        first={"prices": None},
        second={"prices": Prices(input_per_million_usd=900, output_per_million_usd=0)},
        budgets=Budgets(per_day_usd=0.5),
    )
    assert [each.why for each in explained(asking, limited).left_out] == [
        "breaker",
        "budget",
    ]


def test_repetitions_that_do_not_fit_a_budget_are_not_promised(asking: Asking) -> None:
    effective = asking.effective(
        first={"retries": Retries(attempts=2)}, max_cost_per_request_usd=0.005
    )
    first = explained(asking, effective).asked[0]
    assert (first.model, first.calls) == ("first", 1)
    assert first.worst_cost_usd == pytest.approx(0.002)
    assert first.note == "it is not called again when it fails: that might not fit the budget"


def test_a_budget_is_named_that_leaves_no_room_for_a_single_call(asking: Asking) -> None:
    budgets = Budgets(per_day_usd=0.005, per_organisation_per_day_usd=0.0019)
    effective = asking.effective(first={"retries": Retries(attempts=2)}, budgets=budgets)
    route = explain_route(asking.answerer, effective, input_tokens=1000, organisation="acme")
    assert "it could cost $0.002, and of the budget of acme" in route.left_out[0].reason


def test_what_is_explained_is_what_happens(asking: Asking) -> None:
    asking.first.answer(whole("401 Unauthorized", {}))
    effective = asking.effective()
    asking.ask(effective)
    route = explained(asking, effective)
    assert [step.model for step in route.asked] == ["second", "basic_nlp"]
    assert asking.ask(effective).model == route.asked[0].model
