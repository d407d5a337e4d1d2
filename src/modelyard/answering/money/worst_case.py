"""The most that a request can cost with a model: one call, and all that may be made for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.answering.input_size import InputSize
from modelyard.answering.money.pricing import local_cost_usd, worst_cost_usd
from modelyard.answering.prompt import TOKENS_PER_MESSAGE, count_tokens
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.deployments.effective_settings import Effective, EffectiveModel

_SPARE_TOKENS = 32
"""What a chat template may add to a short conversation, the default system prompt included."""
_WORDS_OF_A_REPAIR = 1200
"""More bytes than what a model is told of its JSON, the schema aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The calls that may be made for a request, and what they can cost."""

    output_tokens: int
    """The most tokens that an answer may have."""
    call_usd: float | None
    """The most that a call can cost; None: unknown."""
    repair_usd: float | None
    """The most that a call can cost that has an answer repaired; None: unknown."""
    draws: int
    """Answers that are drawn."""
    repetitions: int
    """How often the call of each is made again when it fails."""
    repairs: int
    """Answers that are repaired: the first one that is not of the JSON that is wanted."""

    @property
    def calls(self) -> int:
        """How many calls that is at most."""
        return self.draws * (1 + self.repetitions) + self.repairs

    @property
    def usd(self) -> float | None:
        """The most that all of them can cost; None: unknown."""
        if self.call_usd is None or self.repair_usd is None:
            return None
        calls = self.calls - self.repairs
        return calls * self.call_usd + self.repairs * self.repair_usd

    @property
    def once(self) -> WorstCase:
        """Without anything that is made again, for where all of it does not fit a budget."""
        return replace(self, repetitions=0, repairs=0)


def worst_case(
    effective: Effective,
    model: EffectiveModel,
    size: InputSize,
    *,
    schema: Mapping[str, Any] | None,
) -> WorstCase:
    """What a request of this length can come to with a model.

    schema: of the JSON that the answer must be, empty for any; None: it may be text.
    """
    settings, is_builtin = model.settings, model.settings.provider == "builtin"
    output_tokens = longest_output(settings, size)
    repaired = size.most
    if schema is not None:  # the answer again, what is wrong with it, and the schema
        repaired += output_tokens + count_tokens(json.dumps(schema))
        repaired += _WORDS_OF_A_REPAIR + 2 * TOKENS_PER_MESSAGE
    per_hour_usd = effective.local_cost_per_hour_usd
    return WorstCase(
        output_tokens=output_tokens,
        call_usd=_worst_call_usd(settings, size.most, output_tokens, per_hour_usd),
        repair_usd=_worst_call_usd(settings, repaired, output_tokens, per_hour_usd),
        draws=0 if is_builtin else effective.samples,
        repetitions=settings.retries.attempts,
        repairs=0 if is_builtin or schema is None else 1,
    )


def _worst_call_usd(
    settings: LanguageModel,
    input_tokens: int,
    output_tokens: int,
    local_cost_per_hour_usd: float | None,
) -> float | None:
    """The most that one call can cost; None: unknown. A local one may take all of its time."""
    if settings.sends_no_bill:
        return local_cost_usd(local_cost_per_hour_usd, settings.timeout_s)
    return worst_cost_usd(
        settings.prices, input_tokens=input_tokens, max_output_tokens=output_tokens
    )


def longest_output(settings: LanguageModel, size: InputSize) -> int:
    """The most tokens of an answer that are asked for: what the context leaves of those wanted.

    An input that is only estimated may have more tokens, and an API refuses the two together where
    they do not fit; where it seems to fill the context, half of what may be left.
    """
    wanted = settings.generation.max_output_tokens or settings.max_output_tokens
    spare = 0 if size.is_exact else size.about // 4 + _SPARE_TOKENS
    left = settings.context_tokens - size.about - spare
    perhaps_left = (settings.context_tokens - size.least) // 2
    return max(1, min(wanted, max(left, perhaps_left)))
