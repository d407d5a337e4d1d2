"""Checks of every call of a model: how it generates, where it is sent, who is asked after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.secrets.references import base_url_meant
from modelyard.settings.units import TOKENS

# What providers refuse: https://platform.openai.com/docs/api-reference/chat/create (stop),
# https://docs.anthropic.com/en/api/messages (temperature; there is no seed). Of top_k the first
# knows nothing.
_MOST_STOPS = {"openai": 4}
_HOTTEST = {"anthropic": 1.0}
_WITHOUT = {"anthropic": ("seed",), "openai": ("top_k",)}
_NEAREST = {
    "seed": "leave it out; a temperature of 0 is what comes nearest",
    "top_k": "leave it out; top_p is what comes nearest",
}

_HOST = re.compile(r"http://(\[[^\]]*\]|[^/:]*)")
_OWN_NAMES = (".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc")


def check_generation(
    generation: Generation, path: KeyPath, model: LanguageModel, name: str
) -> Iterator[Diagnostic]:
    """What this model could not do of what `generation`, at `path`, asks for."""
    tokens = generation.max_output_tokens
    if tokens is not None and tokens > model.max_output_tokens:
        spot = (*path, "max_output_tokens")
        yield problem(
            spot,
            "token-limits",
            f"'{dotted(spot)}' ({TOKENS.show(tokens)}) is more than {name} can give: its "
            f"'max_output_tokens' is {TOKENS.show(model.max_output_tokens)}",
            hint=f"at most {TOKENS.show(model.max_output_tokens)}",
        )
    hottest = _HOTTEST.get(model.provider)
    if hottest is not None and (generation.temperature or 0) > hottest:
        spot = (*path, "temperature")
        yield problem(
            spot,
            "provider-limits",
            f"'{dotted(spot)}' is {generation.temperature:g}, and {model.provider} refuses "
            f"more than {hottest:g}",
            hint=f"at most {hottest:g}",
        )
    for key in _WITHOUT.get(model.provider, ()):
        if getattr(generation, key) is not None:
            spot = (*path, key)
            yield warning(
                spot,
                "ignored-setting",
                f"'{dotted(spot)}' has no effect: {model.provider} takes no {key}",
                hint=_NEAREST[key],
            )
    most = _MOST_STOPS.get(model.provider)
    if most is not None and generation.stop is not None and len(generation.stop) > most:
        spot = (*path, "stop")
        yield problem(
            spot,
            "provider-limits",
            f"'{dotted(spot)}' has {len(generation.stop)} texts, and {model.provider} takes at "
            f"most {most}",
            hint="keep the ones that occur",
        )


def check_stops(generation: Generation, path: KeyPath) -> Iterator[Diagnostic]:
    """An empty text among those that end an answer."""
    for place, text in enumerate(generation.stop or ()):
        if not text:
            spot = (*path, "stop", place)
            yield problem(
                spot,
                "empty",
                f"'{dotted(spot)}' is empty, and would end every answer before it begins",
                hint="leave it out",
            )


def check_endpoint(
    endpoint: str | None, api_key: str | None, path: KeyPath
) -> Iterator[Diagnostic]:
    """The URL of one call in place of the base URL, and a warning where a key goes to another
    machine without encryption."""
    if base := base_url_meant(endpoint) if endpoint else None:
        yield problem(
            path,
            "wrong-form",
            f"'{dotted(path)}' is the URL of one call, and each call appends its own end to it",
            hint=f"write the base URL, {base}",
        )
    found = _HOST.match(endpoint) if endpoint and api_key else None
    if found and not _is_near(found[1].strip("[]").lower()):
        yield warning(
            path,
            "plain-http",
            f"'{dotted(path)}' is http: the key and every request can be read on the way",
            hint="write https://",
        )


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    import ipaddress  # 10 ms that only such an address costs

    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_OWN_NAMES)


def check_order(order: Sequence[str], path: KeyPath, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Names that are there twice, and those that are never reached."""
    last = None
    for place, name in enumerate(order):
        spot = (*path, place)
        if name in order[:place]:
            yield problem(
                spot,
                "repeated",
                f"'{name}' is already in '{dotted(path)}', and is asked once",
                hint="leave one out",
            )
        elif last is not None:
            yield problem(
                spot,
                "unreachable",
                f"'{name}' is never asked: {last} before it needs nothing, and so cannot fail",
                hint=f"put {last} at the end",
            )
        else:
            model = view.model(name)
            last = name if model is not None and model.provider == "builtin" else None
