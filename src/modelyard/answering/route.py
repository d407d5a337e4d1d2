"""The route: which models may answer a request, and in which order.

Pure: what was measured, and what a call may cost, is given. What keeps a model from being asked
now, such as an open breaker or a spent budget, is in `obstacles.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from modelyard.deployments.effective_settings import Effective, EffectiveModel, EffectiveRule

Reason = Literal["rule", "primary", "cheapest", "fastest", "fallback"]
"""Why a model has its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A model of the route."""

    model: EffectiveModel
    """It."""
    reason: Reason
    """Why it has its place."""
    note: str | None = None
    """Why the strategy did not move it up."""


WorstCost = Callable[[EffectiveModel], float | None]
"""The most that a request can cost with a model; None: unknown."""


def order_models(
    effective: Effective,
    input_tokens: int,
    *,
    worst_cost: WorstCost,
    typical_s: Mapping[str, float],
) -> tuple[Step, ...]:
    """Every model of the route, in the order in which they are asked.

    The model of the first rule that applies comes first. The strategy orders those that follow: by
    the cost of the worst case, or by the time that their answers took, those that were not measured
    first. A model that the strategy may not move up stays where the fallback has it, and the
    builtin answer is always last.

    input_tokens: of the request.  typical_s: seconds of an answer, by the model's name.
    """
    chain = list({model.name: model for model in (effective.model, *effective.fallback)}.values())
    rule = next((each for each in effective.rules if _applies(each, input_tokens)), None)
    if rule is None:
        return _by_strategy(effective, chain, worst_cost, typical_s)
    others = [model for model in chain if model.name != rule.model.name]
    rest = _by_strategy(effective, others, worst_cost, typical_s, first="fallback")
    return (Step(model=rule.model, reason="rule"), *rest)


def _applies(rule: EffectiveRule, input_tokens: int) -> bool:
    return rule.longer_than_tokens is None or input_tokens > rule.longer_than_tokens


def _by_strategy(
    effective: Effective,
    chain: Sequence[EffectiveModel],
    worst_cost: WorstCost,
    typical_s: Mapping[str, float],
    *,
    first: Reason = "primary",
) -> tuple[Step, ...]:
    models = [model for model in chain if model.settings.provider != "builtin"]
    last = [model for model in chain if model.settings.provider == "builtin"]
    primary = models[0] if models else None
    strategy = effective.strategy
    ranks: dict[str, float] = {}
    notes: dict[str, str] = {}
    for model in models if strategy != "primary_first" else ():
        if strategy == "fastest":
            ranks[model.name] = typical_s.get(model.name, -math.inf)
            continue
        cost = worst_cost(model)
        note = _not_eligible(effective, model, cost) if model is not primary else None
        if cost is None or note:
            notes[model.name] = note or "its price is unknown"
        else:
            ranks[model.name] = cost
    ranked = sorted((m for m in models if m.name in ranks), key=lambda model: ranks[model.name])
    steps = [Step(model=model, reason=strategy_reason(strategy)) for model in ranked]
    for model in (*(m for m in models if m.name not in ranks), *last):
        reason: Reason = first if model is primary or not models else "fallback"
        steps.append(Step(model=model, reason=reason, note=notes.get(model.name)))
    return tuple(steps)


def strategy_reason(strategy: str) -> Reason:
    """The reason of a model that a strategy has put in its place."""
    return "fastest" if strategy == "fastest" else "cheapest"


def _not_eligible(
    effective: Effective, model: EffectiveModel, cost_usd: float | None
) -> str | None:
    """Why `cheapest` may not put a model before the one that the config names."""
    if cost_usd is None:
        return "its price is unknown"
    if effective.quality.accuracy is not None:
        return (
            f"its accuracy in {effective.domain} is not measured, and "
            f"{effective.quality.accuracy:.0%} are demanded"
        )
    return None
