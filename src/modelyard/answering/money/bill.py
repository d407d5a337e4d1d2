"""What the calls of a reservation have cost so far, or may have."""

from __future__ import annotations

import threading

from modelyard.answering.money.pricing import cost_usd, local_cost_usd, worst_cost_usd
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.providers.call import Usage

_MANY = 10**9


class Bill:
    """The cost of the calls of one model for one answer; threads may share it.

    A call whose cost is not known, or that is still under way, counts with the most that it can
    cost: so the bill of the provider is never above it.
    """

    def __init__(self, worst_call_usd: float | None) -> None:
        self._worst_call_usd = worst_call_usd
        self._known_usd = 0.0
        self._open = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A call is sent."""
        with self._lock:
            self._open += 1

    def end(self, cost_usd: float | None) -> None:
        """A call has ended, and cost that; None: not known."""
        if cost_usd is not None:
            with self._lock:
                self._open -= 1
                self._known_usd += cost_usd

    @property
    def total_usd(self) -> float | None:
        """What is to be settled; None: not known, so the reservation in full."""
        with self._lock:
            if not self._open:
                return self._known_usd
            if self._worst_call_usd is None:
                return None
            return self._known_usd + self._open * self._worst_call_usd


def call_cost_usd(
    settings: LanguageModel,
    usage: Usage | None,
    *,
    seconds: float,
    local_cost_per_hour_usd: float | None,
) -> float | None:
    """What a call cost; None where its tokens or its prices are unknown, or only estimated."""
    if settings.sends_no_bill:
        return local_cost_usd(local_cost_per_hour_usd, seconds)
    if worst_cost_usd(settings.prices, input_tokens=_MANY, max_output_tokens=_MANY) == 0:
        return 0.0  # whatever its tokens are
    if usage is None or usage.is_estimated:
        return None
    if not (usage.input_tokens or usage.output_tokens):
        return 0.0
    return cost_usd(settings.prices, usage)
