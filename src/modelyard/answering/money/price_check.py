"""Configured prices compared with a list of prices; nothing is called or fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from modelyard.answering.money.listed_prices import ListedModel, PriceList
from modelyard.answering.money.pricing import prices_for
from modelyard.configs.kinds.language_models import LanguageModel, Prices

PriceState = Literal["same", "different", "tiered", "missing", "stale", "unlisted"]
"""
same: as in the list.
different: the list says something else.
tiered: the list has other prices for long inputs, and the config has not, or others.
missing: the config has no prices.
stale: as in the list, and the list is too old to say so.
unlisted: the list does not know the model.
"""
WRONG: frozenset[PriceState] = frozenset({"different", "tiered", "missing"})
"""With these a budget counts something else than the bill."""

_KEYS = (
    "input_per_million",
    "output_per_million",
    "cached_input_per_million",
    "cache_write_per_million",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceDifference:
    """A price that is not the one of the list."""

    key: str
    """The key below `prices`."""
    above_input_tokens: int | None
    """The price is that of calls with more tokens of input than this; null: of all others."""
    configured_usd: float | None
    """What the config says, for a million tokens; null: nothing."""
    listed_usd: float | None
    """What the list says; null: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPrices:
    """The prices of one language model."""

    model: str
    """Its name in the configs."""
    provider: str
    """Who answers."""
    provider_model: str
    """The provider's name of it."""
    in_use: bool
    """Whether it may answer a request in this environment."""
    state: PriceState
    """Whether its prices are those of the list."""
    listed_as: str | None
    """What the list calls it; null where it does not know it."""
    differences: tuple[PriceDifference, ...]
    """The prices that are not the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceCheck:
    """The prices of an environment, compared with a list."""

    environment: str
    """The environment."""
    price_list: str
    """The list, with its version."""
    checked_on: str | None
    """The newest day on which its authors say that they checked a price; null: not known."""
    is_stale: bool
    """Whether that is longer ago than was asked for, or not known."""
    models: tuple[CheckedPrices, ...]
    """Each language model that somebody may send a bill for."""

    def in_state(self, *states: PriceState) -> tuple[CheckedPrices, ...]:
        """The models in use with one of these states."""
        return tuple(model for model in self.models if model.in_use and model.state in states)


def check_prices(
    environment: str,
    models: Mapping[str, LanguageModel],
    in_use: frozenset[str],
    prices: PriceList,
    *,
    today: date,
    max_age_s: float,
) -> PriceCheck:
    """Compare the prices of every language model that is called over a network.

    max_age_s: a list that is older is stale.
    """
    checked_on = prices.checked_on
    is_stale = checked_on is None or (today - checked_on).total_seconds() > max_age_s
    return PriceCheck(
        environment=environment,
        price_list=f"genai-prices {prices.version}",
        checked_on=checked_on.isoformat() if checked_on else None,
        is_stale=is_stale,
        models=tuple(
            _check(name, model, prices.find(model), in_use=name in in_use, is_stale=is_stale)
            for name, model in models.items()
            if model.needs_network
        ),
    )


def _check(
    name: str, model: LanguageModel, listed: ListedModel | None, *, in_use: bool, is_stale: bool
) -> CheckedPrices:
    differences: tuple[PriceDifference, ...] = ()
    state: PriceState = "stale" if is_stale else "same"
    if model.prices is None:
        state = "missing"
    elif listed is None:
        state = "unlisted"
    else:
        differences = tuple(_differences(model.prices, listed, model.context_tokens))
        if any(difference.above_input_tokens is None for difference in differences):
            state = "different"
        elif differences:
            state = "tiered"
    return CheckedPrices(
        model=name,
        provider=model.provider,
        provider_model=model.model,
        in_use=in_use,
        state=state,
        listed_as=listed.name if listed else None,
        differences=differences,
    )


def _differences(
    prices: Prices, listed: ListedModel, context_tokens: int
) -> Iterator[PriceDifference]:
    """The prices that differ, of short inputs and in each tier.

    A tier that no input of the config's model can reach counts only where the config has it.
    """
    own = {tier.above_input_tokens for tier in prices.tiers}
    reached = {bound for bound in listed.bounds if bound < context_tokens}
    for bound in (None, *sorted(own | reached)):
        input_tokens = (bound or 0) + 1
        charged = prices_for(prices, input_tokens)
        for key in _KEYS:
            configured: float | None = getattr(charged, f"{key}_usd")
            expected = listed.price_usd(key, input_tokens)
            if key == "cached_input_per_million":  # without a price of its own, that of input
                configured = charged.input_per_million_usd if configured is None else configured
                if expected is None:
                    expected = listed.price_usd("input_per_million", input_tokens)
            elif key == "cache_write_per_million" and configured is None:
                continue  # not known, and not said to be anything
            if configured != expected:
                yield PriceDifference(
                    key=key,
                    above_input_tokens=bound,
                    configured_usd=configured,
                    listed_usd=expected,
                )
