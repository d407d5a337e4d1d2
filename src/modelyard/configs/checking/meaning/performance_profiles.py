"""Contradictions in a performance profile."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.meaning.calls import check_generation, check_stops
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.performance_profiles import PerformanceProfile
from modelyard.core.errors import Diagnostic


def check(profile: PerformanceProfile, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one profile."""
    yield from check_stops(profile.generation, ("generation",))
    if profile.samples > 1 and profile.generation.temperature == 0:
        yield warning(
            ("samples",),
            "contradiction",
            f"'samples' draws {profile.samples} answers at a temperature of 0: they are all equal, "
            "and each is paid for",
            hint="set `samples: 1`, or a temperature such as 0.4",
        )
    if profile.batching.max_wait_s is not None:
        yield warning(
            ("batching", "max_wait"),
            "ignored-setting",
            "'batching.max_wait' has no effect any more: a request joins the next step of a local "
            "model and waits for no others",
            hint="take it out; `timeout` bounds how long an answer may take, its wait included",
        )
    model = view.model(profile.model)
    if model is not None:
        yield from check_generation(profile.generation, ("generation",), model, str(profile.model))
        if profile.max_cost_per_request_usd == 0 and model.prices is not None:
            yield problem(
                ("max_cost_per_request",),
                "cost-limit",
                f"'max_cost_per_request' is $0 and {profile.model} charges: every request would be "
                "refused",
                hint="raise it, or take a local model",
            )
