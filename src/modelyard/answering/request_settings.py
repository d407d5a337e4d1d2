"""What a request sets itself, over the settings of its domain and profile."""

from __future__ import annotations

from dataclasses import replace

from modelyard.answering.request import Request
from modelyard.core.errors import InvalidInput
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.deployments.layers import lay_over


def with_request(effective: Effective, request: Request) -> Effective:
    """The settings by which a request is answered: its own generation over that of each model.

    Raises InvalidInput where the answer may be longer than the model can give that answers first; a
    model after it gives as much as it can.
    """
    wanted = request.generation
    if wanted is None:
        return effective
    first = effective.model.settings
    if wanted.max_output_tokens is not None and wanted.max_output_tokens > first.max_output_tokens:
        raise InvalidInput(
            f"an answer of {wanted.max_output_tokens:,} tokens is more than "
            f"{effective.model.name} gives: {first.max_output_tokens:,} at most",
            where="max_output_tokens",
        )

    def changed(model: EffectiveModel) -> EffectiveModel:
        settings = model.settings
        drawn = lay_over(settings.generation, wanted)
        if drawn.max_output_tokens is not None:
            longest = min(drawn.max_output_tokens, settings.max_output_tokens)
            drawn = replace(drawn, max_output_tokens=longest)
        return replace(model, settings=replace(settings, generation=drawn))

    return replace(
        effective,
        model=changed(effective.model),
        fallback=tuple(map(changed, effective.fallback)),
        rules=tuple(replace(rule, model=changed(rule.model)) for rule in effective.rules),
    )
