"""What providers charge according to genai-prices, a list that comes with its package.

Nothing is fetched. The package does not say from which day its list is; its remarks on models say
when their prices were checked, and the newest such day is the least that is known of its age.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from modelyard.configs.kinds.language_models import LanguageModel

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelPrice

_CHECKED = re.compile(r"\b(?:verified|checked|as of)\b[^.\"]{0,80}?(\d{4}-\d{2}-\d{2})", re.I)
_KEYS = {
    "input_per_million": "input_mtok",
    "output_per_million": "output_mtok",
    "cached_input_per_million": "cache_read_mtok",
    "cache_write_per_million": "cache_write_mtok",
}
"""What the list calls the prices of our configs."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """What a model costs according to the list."""

    name: str
    """What the list calls it."""
    _prices: ModelPrice

    @property
    def bounds(self) -> tuple[int, ...]:
        """The tokens of input above which a call has other prices, ascending."""
        tiers = (getattr(self._price(key), "tiers", ()) for key in _KEYS)
        return tuple(sorted({tier.start for of_key in tiers for tier in of_key}))

    def price_usd(self, key: str, input_tokens: int) -> float | None:
        """The price of a million tokens in a call with so many tokens of input; None: no such.

        key: what our configs call it, such as `input_per_million`.
        """
        price = self._price(key)
        for tier in getattr(price, "tiers", ()):
            if input_tokens > tier.start:
                price = tier.price  # they are sorted
        price = getattr(price, "base", price)
        return None if price is None else float(price)

    def _price(self, key: str) -> Any:
        return getattr(self._prices, _KEYS[key])


@dataclass(frozen=True, slots=True)
class PriceList:
    """The list, and of which day it is."""

    version: str
    """The version of genai-prices."""
    checked_on: date | None
    """The newest day on which its authors say that they checked a price; None: they say none."""
    _today: date
    _snapshot: DataSnapshot

    def find(self, model: LanguageModel) -> ListedModel | None:
        """What the list says about a hosted model, or one behind a known endpoint."""
        provider = model.provider if model.hosted else None
        try:
            found = self._snapshot.find_provider(None, provider, model.endpoint)
            _, listed = self._snapshot.find_provider_model(model.model, found, None, None)
        except LookupError:
            return None
        noon = datetime.combine(self._today, time(12), UTC)
        return ListedModel(listed.id, listed.get_prices(noon))


def load_price_list(today: date) -> PriceList:
    """The list of the installed genai-prices, as it is on a day."""
    from importlib.metadata import version

    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    days = [day for day in _days_checked(snapshot) if day <= today]
    return PriceList(version("genai-prices"), max(days, default=None), today, snapshot)


def _days_checked(snapshot: DataSnapshot) -> Iterator[date]:
    for provider in snapshot.providers:
        models = (model.price_comments for model in provider.models)
        for remark in (provider.price_comments, *models):
            for day in _CHECKED.findall(remark or ""):
                try:
                    yield date.fromisoformat(day)
                except ValueError:  # such as a 31st of February
                    continue
