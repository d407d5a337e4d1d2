"""What a call costs: by the prices of its model and the tokens that the provider reports.

A provider with tiers charges all tokens of a call by the tier of its input, and not only those
above the bound (Anthropic, OpenAI and Google each say so on their price lists). An unknown price
makes an unknown cost, which is None and never 0.

A model that runs here, and the builtin answer, have no bill. What they cost is the machine's time,
where `local_cost_per_hour` says what an hour of it is worth; where it does not, they cost $0, and
what the machine costs is in no figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from modelyard.configs.kinds.language_models import Prices, PriceTier
from modelyard.providers.call import Usage

_MILLION = 1_000_000
NANO = 1_000_000_000
"""Nano-dollars in a dollar: what the ledger counts in, since integers add up exactly."""


def cost_usd(prices: Prices | None, usage: Usage) -> float | None:
    """What a call cost; None where a price that it needs is unknown."""
    if prices is None:
        return None
    charged = prices_for(prices, usage.input_tokens)
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    cached, write = charged.cached_input_per_million_usd, charged.cache_write_per_million_usd
    if write is None and usage.cache_write_tokens:
        return None
    return (
        max(plain, 0) * charged.input_per_million_usd
        + usage.cached_input_tokens * (charged.input_per_million_usd if cached is None else cached)
        + usage.cache_write_tokens * (write or 0)
        + usage.output_tokens * charged.output_per_million_usd
    ) / _MILLION


def worst_cost_usd(
    prices: Prices | None, *, input_tokens: int, max_output_tokens: int
) -> float | None:
    """The most that one call can cost; None where the prices are unknown.

    input_tokens: an upper bound. Fewer tokens may be in a lower tier, and input may be cached or
    written into a cache: the dearest of all that is possible counts.
    """
    if prices is None:
        return None
    return (
        max(
            input_tokens * _dearest_input(charged)
            + max_output_tokens * charged.output_per_million_usd
            for charged in _possible_prices(prices, input_tokens)
        )
        / _MILLION
    )


def local_cost_usd(per_hour_usd: float | None, seconds: float) -> float:
    """What so many seconds of this machine cost; 0 where the config does not say what it costs."""
    return (per_hour_usd or 0.0) * seconds / 3600


def to_nano_usd(dollars: float) -> int:
    """Dollars in nano-dollars, rounded up: a ledger in them is never below the bill.

    What is above a whole number only since a float is no decimal, such as .1 + .2, is not.
    """
    return math.ceil(round(dollars * NANO, 3))


def prices_for(prices: Prices, input_tokens: int) -> Prices | PriceTier:
    """The prices of a call with so many tokens of input."""
    *_, charged = _possible_prices(prices, input_tokens)
    return charged


def _possible_prices(prices: Prices, input_tokens: int) -> Iterator[Prices | PriceTier]:
    """The prices of calls with at most so many tokens of input; those for just as many last."""
    yield prices
    for tier in sorted(prices.tiers, key=lambda tier: tier.above_input_tokens):
        if input_tokens > tier.above_input_tokens:
            yield tier


def _dearest_input(charged: Prices | PriceTier) -> float:
    return max(
        charged.input_per_million_usd,
        charged.cached_input_per_million_usd or 0.0,
        charged.cache_write_per_million_usd or 0.0,
    )
