"""Who would answer a request, in which order and at which worst cost, and who would not, and why.

Nothing is called and nothing is changed: it looks where `run.py` looks.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.answering.ab_test import follow_ab_test
from modelyard.answering.answer import Answerer
from modelyard.answering.input_size import InputSize
from modelyard.answering.money.worst_case import worst_case
from modelyard.answering.obstacles import find_budget_obstacle, find_obstacle, find_stand_in
from modelyard.answering.prompt import wanted_schema
from modelyard.answering.request import LeftOut, Request
from modelyard.answering.route import Reason
from modelyard.deployments.effective_settings import Effective, EffectiveModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedStep:
    """A model that would be asked."""

    model: str
    """Its name."""
    provider: str
    """Who runs it."""
    reason: Reason
    """Why it has its place."""
    max_output_tokens: int
    """The most tokens that its answer may have."""
    calls: int
    """How often it may be called: draws, repetitions, and a repair of JSON."""
    worst_cost_usd: float | None
    """The most that all these calls can cost; None: unknown."""
    typical_s: float | None
    """The median seconds of its calls in the monitored window; None: no call there."""
    note: str | None
    """Why the strategy did not move it up, or why it is called less often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteExplained:
    """The route of a request."""

    environment: str
    """The environment."""
    revision: int
    """The live revision."""
    domain: str | None
    """The domain; None: a request without one."""
    profile: str | None
    """The performance profile."""
    strategy: str
    """How one is chosen among those that could answer."""
    input_tokens: int
    """Tokens of its input."""
    organisation: str | None
    """Who would ask."""
    variant: str | None
    """The variant of an A/B test that they get, `NAME/a` or `NAME/b`; None: they are in none."""
    asked: tuple[ExplainedStep, ...]
    """Who would be asked, in this order, until one answers."""
    left_out: tuple[LeftOut, ...]
    """Who would not be, and why."""


def explain_route(
    answerer: Answerer,
    effective: Effective,
    *,
    input_tokens: int,
    organisation: str | None = None,
    user: str | None = None,
) -> RouteExplained:
    """The route of a request with so many tokens of input, as everything stands now."""
    effective = follow_ab_test(
        effective, Request(messages=(), organisation=organisation, user=user)
    )
    size = InputSize.exact(input_tokens)
    schema = wanted_schema(effective, Request(messages=()))
    window_s = effective.monitoring.window_s
    typical_s = answerer.speeds.typical_s(effective.environment, window_s)
    asked: list[ExplainedStep] = []
    damaged: dict[str, str] = {}
    left_out = [
        LeftOut(model=name, why="local_only", reason="it needs a network, and the domain is local")
        for name in effective.kept_off
    ]
    for step in answerer.order(effective, size, schema=schema):
        model, settings = step.model, step.model.settings
        obstacle = find_stand_in(model, damaged) or find_obstacle(
            answerer.project,
            effective,
            model,
            answerer.local_models,
            needs_json=schema is not None,
            size=size,
        )
        if obstacle is not None and obstacle.why == "damaged" and settings.adapter is not None:
            damaged[settings.model] = settings.adapter
        worst, note = worst_case(effective, model, size, schema=schema), step.note
        if obstacle is None:
            obstacle = _over_budget(answerer, effective, model, organisation, worst.usd)
            if obstacle is not None and worst.once != worst:
                obstacle = _over_budget(answerer, effective, model, organisation, worst.once.usd)
                if obstacle is None:
                    worst = worst.once
                    note = "it is not called again when it fails: that might not fit the budget"
        if obstacle is not None:
            left_out.append(obstacle)
            continue
        asked.append(
            ExplainedStep(
                model=model.name,
                provider=settings.provider,
                reason=step.reason,
                max_output_tokens=worst.output_tokens,
                calls=worst.calls,
                worst_cost_usd=worst.usd,
                typical_s=typical_s.get(model.name),
                note=note,
            )
        )
    return RouteExplained(
        environment=effective.environment,
        revision=effective.revision,
        domain=effective.domain,
        profile=effective.profile,
        strategy=effective.strategy,
        input_tokens=input_tokens,
        organisation=organisation,
        variant=effective.variant,
        asked=tuple(asked),
        left_out=tuple(left_out),
    )


def _over_budget(
    answerer: Answerer,
    effective: Effective,
    model: EffectiveModel,
    organisation: str | None,
    worst: float | None,
) -> LeftOut | None:
    return find_budget_obstacle(
        answerer.project, effective, model, organisation=organisation, worst_usd=worst
    )
