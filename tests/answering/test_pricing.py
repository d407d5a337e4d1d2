"""What a call costs: tiers, caches, and prices that are not known."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from modelyard.answering.money.bill import call_cost_usd
from modelyard.answering.money.pricing import cost_usd, local_cost_usd, to_nano_usd, worst_cost_usd
from modelyard.configs.kinds.language_models import LanguageModel, Prices, PriceTier
from modelyard.providers.call import Usage

SONNET = Prices(
    input_per_million_usd=3,
    cached_input_per_million_usd=0.3,
    cache_write_per_million_usd=3.75,
    output_per_million_usd=15,
    tiers=(
        PriceTier(
            above_input_tokens=200_000,
            input_per_million_usd=6,
            cached_input_per_million_usd=0.6,
            cache_write_per_million_usd=7.5,
            output_per_million_usd=22.5,
        ),
    ),
)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=1_000_000 // 5, output_tokens=0), 0.6),
        (Usage(input_tokens=200_000, output_tokens=1000), 0.615),
        (Usage(input_tokens=200_001, output_tokens=1000), 200_001 * 6e-6 + 0.0225),
        (Usage(input_tokens=1000, output_tokens=0, cached_input_tokens=900), 100 * 3e-6 + 27e-5),
        (Usage(input_tokens=1000, output_tokens=0, cache_write_tokens=1000), 0.00375),
        (Usage(input_tokens=0, output_tokens=0), 0.0),
    ],
)
def test_a_call_costs_what_its_tier_and_its_cache_say(usage: Usage, dollars: float) -> None:
    assert cost_usd(SONNET, usage) == pytest.approx(dollars, rel=1e-12)


def test_costs_are_those_of_an_independent_list_of_prices() -> None:
    """genai-prices knows the model, its tiers and its cache, and computes in decimals."""
    from genai_prices import Usage as Listed
    from genai_prices import calc_price

    chance = random.Random(7)
    for _ in range(200):
        total = chance.choice([10, 5000, 199_999, 200_000, 200_001, 900_000])
        cached = chance.randint(0, total)
        written = chance.randint(0, total - cached)
        output = chance.randint(0, 64_000)
        ours = cost_usd(
            SONNET,
            Usage(
                input_tokens=total,
                output_tokens=output,
                cached_input_tokens=cached,
                cache_write_tokens=written,
            ),
        )
        listed = Listed(
            input_tokens=total,
            output_tokens=output,
            cache_read_tokens=cached,
            cache_write_tokens=written,
        )
        theirs = calc_price(listed, "claude-sonnet-4-5", provider_id="anthropic").total_price
        assert ours == pytest.approx(float(theirs), rel=1e-9, abs=1e-12)


def test_a_price_that_is_not_known_is_no_price_of_zero() -> None:
    usage = Usage(input_tokens=10, output_tokens=10)
    assert cost_usd(None, usage) is None
    assert worst_cost_usd(None, input_tokens=10, max_output_tokens=10) is None
    plain = Prices(input_per_million_usd=3, output_per_million_usd=15)
    written = Usage(input_tokens=10, output_tokens=0, cache_write_tokens=1)
    assert cost_usd(plain, written) is None
    assert cost_usd(plain, usage) == pytest.approx(18e-5)


def test_no_call_costs_more_than_its_worst_case() -> None:
    """Also where a longer input is cheaper, or a cache dearer than none."""
    chance = random.Random(3)

    def some_prices(**bound: int) -> dict[str, float]:
        keys = ("input", "output", "cached_input", "cache_write")
        return {f"{key}_per_million_usd": chance.choice([0.1, 1, 3, 20]) for key in keys} | bound

    for _ in range(300):
        bounds = sorted(chance.sample(range(1, 1000), chance.randint(0, 3)))
        tiers = tuple(PriceTier(**some_prices(above_input_tokens=bound)) for bound in bounds)
        prices = Prices(**some_prices(), tiers=tiers)
        most, longest = chance.randint(1, 1200), chance.randint(0, 500)
        worst = worst_cost_usd(prices, input_tokens=most, max_output_tokens=longest)
        total = chance.randint(0, most)
        cached = chance.randint(0, total)
        usage = Usage(
            input_tokens=total,
            output_tokens=chance.randint(0, longest),
            cached_input_tokens=cached,
            cache_write_tokens=chance.randint(0, total - cached),
        )
        cost = cost_usd(prices, usage)
        assert worst is not None and cost is not None
        assert to_nano_usd(cost) <= to_nano_usd(worst)


def test_a_ledger_in_nano_dollars_is_never_below_the_bill() -> None:
    assert to_nano_usd(0.1 + 0.2) == 300_000_000
    assert to_nano_usd(1e-9) == 1
    assert to_nano_usd(1.5e-9) == 2
    assert to_nano_usd(0) == 0
    chance = random.Random(5)
    for _ in range(1000):
        price, tokens = Decimal(chance.randint(1, 9999)) / 100, chance.randint(1, 10**6)
        bill = price * tokens / 10**6
        prices = Prices(input_per_million_usd=float(price), output_per_million_usd=0)
        cost = cost_usd(prices, Usage(input_tokens=tokens, output_tokens=0))
        assert cost is not None and 0 <= to_nano_usd(cost) - bill * 10**9 < 1


def test_a_local_answer_costs_the_time_of_the_machine_where_that_has_a_price() -> None:
    assert local_cost_usd(0.6, 30) == pytest.approx(0.005)
    assert local_cost_usd(None, 30) == 0


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"stays_local": True}, 0.6 * 30 / 3600),
        (
            {
                "stays_local": True,
                "prices": Prices(input_per_million_usd=1, output_per_million_usd=2),
            },
            5e-6,
        ),
        ({}, None),
        ({"stays_local": True, "endpoint": "http://10.0.0.7:8000/v1"}, None),
    ],
)
def test_a_server_that_stays_here_costs_time_unless_it_has_prices(
    facts: dict[str, Any], expected: float | None
) -> None:
    known: dict[str, Any] = {
        "description": "A server",
        "provider": "openai_compatible",
        "model": "house",
        "endpoint": "http://localhost:8000/v1",
        "context_tokens": 8000,
        "max_output_tokens": 1000,
    }
    cost = call_cost_usd(
        LanguageModel(**known | facts),
        Usage(input_tokens=1, output_tokens=2),
        seconds=30,
        local_cost_per_hour_usd=0.6,
    )
    assert cost == (expected if expected is None else pytest.approx(expected))
