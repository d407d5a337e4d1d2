"""Whether a model can draw answers as it is told to."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning.mistake import Mistake, warning
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import KeyPath, dotted
from modelyard.settings.units import TOKENS

# What providers refuse: https://platform.openai.com/docs/api-reference/chat/create (stop),
# https://docs.anthropic.com/en/api/messages (temperature; there is no seed).
_MOST_STOPS = {"openai": 4}
_HOTTEST = {"anthropic": 1.0}
_SEEDLESS = ("anthropic",)


def check_generation(
    generation: Generation, path: KeyPath, model: LanguageModel, name: str
) -> Iterator[Mistake]:
    """What this model could not do of what `generation`, at `path`, asks for."""
    tokens = generation.max_output_tokens
    if tokens is not None and tokens > model.max_output_tokens:
        spot = (*path, "max_output_tokens")
        yield Mistake(
            spot,
            "token-limits",
            f"'{dotted(spot)}' ({TOKENS.show(tokens)}) is more than {name} can give: its "
            f"'max_output_tokens' is {TOKENS.show(model.max_output_tokens)}",
            hint=f"at most {TOKENS.show(model.max_output_tokens)}",
        )
    hottest = _HOTTEST.get(model.provider)
    if hottest is not None and (generation.temperature or 0) > hottest:
        spot = (*path, "temperature")
        yield Mistake(
            spot,
            "provider-limits",
            f"'{dotted(spot)}' is {generation.temperature:g}, and {model.provider} refuses "
            f"more than {hottest:g}",
            hint=f"at most {hottest:g}",
        )
    if generation.seed is not None and model.provider in _SEEDLESS:
        spot = (*path, "seed")
        yield warning(
            spot,
            "ignored-setting",
            f"'{dotted(spot)}' has no effect: {model.provider} takes no seed",
            hint="leave it out; a temperature of 0 is what comes nearest",
        )
    most = _MOST_STOPS.get(model.provider)
    if most is not None and generation.stop is not None and len(generation.stop) > most:
        spot = (*path, "stop")
        yield Mistake(
            spot,
            "provider-limits",
            f"'{dotted(spot)}' has {len(generation.stop)} texts, and {model.provider} takes at "
            f"most {most}",
            hint="keep the ones that occur",
        )


def check_stops(generation: Generation, path: KeyPath) -> Iterator[Mistake]:
    """An empty text among those that end an answer."""
    for place, text in enumerate(generation.stop or ()):
        if not text:
            spot = (*path, "stop", place)
            yield Mistake(
                spot,
                "empty",
                f"'{dotted(spot)}' is empty, and would end every answer before it begins",
                hint="leave it out",
            )
