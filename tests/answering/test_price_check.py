"""Configured prices against the list of genai-prices, on days that the tests choose."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.answering.money.listed_prices import PriceList, load_price_list
from modelyard.answering.money.price_check import CheckedPrices, check_prices
from modelyard.configs.kinds.language_models import LanguageModel, Prices, PriceTier

TODAY = date(2026, 11, 30)


@pytest.fixture(scope="module")
def prices() -> PriceList:
    return load_price_list(TODAY)


def model(name: str, prices: Prices | None, **facts: Any) -> LanguageModel:
    known: dict[str, Any] = {
        **{"description": "For tests", "provider": "openai", "api_key": "env:KEY"},
        **{"context_tokens": 1_000_000, "max_output_tokens": 1000},
    }
    return LanguageModel(model=name, prices=prices, **(known | facts))


def checked(prices: PriceList, one: LanguageModel, *, max_age_days: int = 90) -> CheckedPrices:
    found = check_prices(
        "production",
        {"one": one},
        frozenset({"one"}),
        prices,
        today=TODAY,
        max_age_s=max_age_days * 86_400,
    )
    return found.models[0]


GPT41 = Prices(input_per_million_usd=2, cached_input_per_million_usd=0.5, output_per_million_usd=8)
LONG = PriceTier(
    above_input_tokens=272_000,
    input_per_million_usd=5,
    cached_input_per_million_usd=0.5,
    output_per_million_usd=22.5,
)
GPT54 = Prices(
    input_per_million_usd=2.5,
    cached_input_per_million_usd=0.25,
    output_per_million_usd=15,
    tiers=(LONG,),
)


def test_equal_prices_are_the_same(prices: PriceList) -> None:
    assert checked(prices, model("gpt-4.1", GPT41)).state == "same"
    assert checked(prices, model("gpt-4.1-2025-04-14", GPT41)).listed_as == "gpt-4.1"
    assert checked(prices, model("gpt-5.4", GPT54)).state == "same"


def test_each_wrong_price_is_named_with_both_figures(prices: PriceList) -> None:
    wrong = replace(GPT41, output_per_million_usd=9.0, cached_input_per_million_usd=None)
    found = checked(prices, model("gpt-4.1", wrong))
    assert found.state == "different"
    assert [
        (difference.key, difference.configured_usd, difference.listed_usd)
        for difference in found.differences
    ] == [("output_per_million", 9.0, 8.0), ("cached_input_per_million", 2.0, 0.5)]


@pytest.mark.parametrize(
    "tiers",
    [(), (replace(LONG, output_per_million_usd=20.0),), (replace(LONG, above_input_tokens=1000),)],
)
def test_another_tier_than_that_of_the_list_is_named(
    prices: PriceList, tiers: tuple[PriceTier, ...]
) -> None:
    found = checked(prices, model("gpt-5.4", replace(GPT54, tiers=tiers)))
    assert found.state == "tiered"
    assert all(difference.above_input_tokens for difference in found.differences)


def test_a_tier_that_no_input_reaches_may_be_left_out(prices: PriceList) -> None:
    short = model("gpt-5.4", replace(GPT54, tiers=()), context_tokens=272_000)
    assert checked(prices, short).state == "same"


def test_what_the_list_does_not_know_is_unlisted_and_what_has_no_price_missing(
    prices: PriceList,
) -> None:
    assert checked(prices, model("no-such-model", GPT41)).state == "unlisted"
    own = model("llama", None, provider="openai_compatible", endpoint="http://localhost:8000/v1")
    assert checked(prices, own).state == "missing"
    assert checked(prices, replace(own, prices=GPT41)).state == "unlisted"
    endpoint = "https://our.openai.azure.com/openai/v1"
    at_azure = model("gpt-4.1", GPT41, provider="openai_compatible", endpoint=endpoint)
    assert checked(prices, at_azure).listed_as is not None


def test_models_without_a_bill_are_not_compared(prices: PriceList) -> None:
    local = model("smollm2-135m-instruct", None, provider="local", api_key=None)
    found = check_prices(
        "production", {"local": local}, frozenset(), prices, today=TODAY, max_age_s=1
    )
    assert found.models == ()


def test_an_old_list_proves_no_price_and_still_disproves_one(prices: PriceList) -> None:
    assert checked(prices, model("gpt-4.1", GPT41), max_age_days=10).state == "stale"
    wrong = replace(GPT41, output_per_million_usd=9.0)
    assert checked(prices, model("gpt-4.1", wrong), max_age_days=10).state == "different"


def test_the_day_of_the_list_is_the_newest_that_its_remarks_name_and_is_past() -> None:
    newest = load_price_list(TODAY).checked_on
    assert newest is not None and date(2026, 10, 1) < newest <= TODAY
    assert load_price_list(date(2000, 1, 1)).checked_on is None
    earlier = load_price_list(date(2026, 10, 13)).checked_on
    assert earlier == date(2026, 10, 12)


def test_a_list_of_an_unknown_day_is_stale(prices: PriceList) -> None:
    undated = PriceList("1", None, TODAY, SimpleNamespace())  # type: ignore[arg-type]
    found = check_prices("test", {}, frozenset(), undated, today=TODAY, max_age_s=1e9)
    assert found.is_stale and found.checked_on is None
