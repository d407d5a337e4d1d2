"""A language model (hosted, behind an endpoint, local, or none), and the chain of fallbacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelyard.configs.kinds.endpoints import endpoint_url
from modelyard.configs.kinds.parts import Endpoint, Generation, Name, OneLine, Secret, WrittenOut
from modelyard.settings.marks import Advice, Range, Reference
from modelyard.settings.units import DURATION, MONEY, TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """Other prices for the whole of a call with a long input."""

    above_input_tokens: Annotated[int, TOKENS, Range(1)]
    """The prices of a call with more tokens of input than this; all of its tokens count."""
    input_per_million_usd: Annotated[float, MONEY, Range(0)]
    """Price of a million tokens of input."""
    output_per_million_usd: Annotated[float, MONEY, Range(0)]
    """Price of a million tokens of output."""
    cached_input_per_million_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Price of a million tokens of cached input; default: no discount."""
    cache_write_per_million_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Price of a million tokens of input that the provider writes into its cache; left out: not
    known, and so is the cost of a call that has some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a provider charges, for a million tokens."""

    input_per_million_usd: Annotated[float, MONEY, Range(0)]
    """Price of a million tokens of input."""
    output_per_million_usd: Annotated[float, MONEY, Range(0)]
    """Price of a million tokens of output."""
    cached_input_per_million_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Price of a million tokens of cached input; default: no discount."""
    cache_write_per_million_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Price of a million tokens of input that the provider writes into its cache; left out: not
    known, and so is the cost of a call that has some."""
    tiers: tuple[PriceTier, ...] = ()
    """Other prices for calls with a long input, the shortest first."""


_AT_ONCE = 8
"""Requests under way at once to a server whose limits say nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What the provider allows; requests stay below it."""

    requests_per_minute: Annotated[int, Range(1)] | None = None
    """Requests in any minute."""
    tokens_per_minute: Annotated[int, TOKENS, Range(1)] | None = None
    """Tokens of input and output in any minute."""
    concurrent_requests: Annotated[int, Range(1, 1024)] | None = None
    """Requests under way at once. Left out: 8, and as many as come for a local model."""

    @property
    def at_once(self) -> int:
        """The most requests under way at once to a server."""
        return self.concurrent_requests or _AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a call that failed temporarily is repeated."""

    attempts: Annotated[int, Range(0, 10)] = 2
    """Times a failed call is repeated before the fallback is called."""
    first_wait_s: Annotated[float, DURATION, Range(0.01, 60)] = 0.5
    """Wait before the first repetition; each further wait is twice as long."""
    longest_wait_s: Annotated[float, DURATION, Range(0.01, 600)] = 20.0
    """Longest wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAnswer:
    """How `builtin` answers without a model: with quotes from the sources found."""

    message: OneLine = "No language model can be reached at the moment."
    """How the answer begins."""
    quoted_sentences: Annotated[int, Range(0, 20)] = 3
    """Sentences quoted from the sources found; 0 quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFineTuning:
    """What the provider fine-tunes, what that costs, and what its result costs."""

    model: WrittenOut | None = None
    """The provider's name of the model that is tuned, often with a date; default: `model`."""
    price_per_million_training_tokens_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Price of a million training tokens, each pass counted; left out: unknown, which no budget
    allows."""
    prices: Prices | None = None
    """What a call of the tuned model costs, for the draft that is written for it."""


_COMPATIBLE = "write `provider: openai_compatible` with `endpoint: {}`"
_VERTEX = (
    "https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION"
    "/endpoints/openapi"
)
_OTHER_PROVIDERS = Advice(
    tuple(
        (word, _COMPATIBLE.format(endpoint))
        for word, endpoint in (
            ("ollama", "http://localhost:11434/v1"),
            ("vllm", "http://localhost:8000/v1"),
            ("llamacpp", "http://localhost:8080/v1"),
            ("lmstudio", "http://localhost:1234/v1"),
            ("tgi", "http://localhost:8080/v1"),
            ("litellm", "http://localhost:4000"),
            ("azure", "https://RESOURCE.openai.azure.com/openai/v1"),
            ("azure_openai", "https://RESOURCE.openai.azure.com/openai/v1"),
            ("bedrock", "https://bedrock-runtime.REGION.amazonaws.com/openai/v1"),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
            ("google", "https://generativelanguage.googleapis.com/v1beta/openai"),
            ("vertex_ai", _VERTEX),
            ("vertex", _VERTEX),
            ("mistral", "https://api.mistral.ai/v1"),
            ("groq", "https://api.groq.com/openai/v1"),
            ("openrouter", "https://openrouter.ai/api/v1"),
            ("together", "https://api.together.xyz/v1"),
            ("deepseek", "https://api.deepseek.com/v1"),
        )
    )
)
"""Other servers and services have the API of OpenAI too, each at its own address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """One language model: where it runs, its limits and its prices."""

    description: OneLine
    """What this model is for, in one line."""
    provider: Annotated[
        Literal["openai", "anthropic", "openai_compatible", "local", "builtin"], _OTHER_PROVIDERS
    ]
    """Who answers: a hosted API, an endpoint of your own, this machine, or no model at all."""
    model: WrittenOut
    """The provider's name of the model; for `local` a base model, as in `models base list`."""
    aliases: tuple[Name, ...] = ()
    """Other names that it answers to, such as gpt-4; no two models may share one."""
    adapter: Annotated[str, Reference("adapters")] | None = None
    """With `local`: the adapter on top, NAME (its active version) or NAME@VERSION."""
    endpoint: Endpoint | None = None
    """URL of the API; required for `openai_compatible`, else the provider's own."""
    stays_local: bool = False
    """Whether what the endpoint is sent stays on this machine; only a loopback address can."""
    api_key: Secret | None = None
    """Where the key is found, `env:NAME` or `file:PATH`; never the key."""
    context_tokens: Annotated[int, TOKENS, Range(16)]
    """Input and output together, in tokens."""
    max_output_tokens: Annotated[int, TOKENS, Range(1)]
    """Longest answer that the model can give, in tokens."""
    generation: Generation = field(default_factory=Generation)
    """How answers are generated unless a domain or a profile overrides it."""
    prices: Prices | None = None
    """What a call costs; required for hosted models, since an unknown price is not zero. Without
    them, a model that stays local costs nothing but this machine's time."""
    limits: RateLimits = field(default_factory=RateLimits)
    """What the provider allows."""
    timeout_s: Annotated[float, DURATION, Range(0.01, 3600)] = 60.0
    """The time for one call."""
    retries: Retries = field(default_factory=Retries)
    """What is done when a call fails."""
    on_refusal: Literal["answer", "next"] = "answer"
    """When the model or its provider refuses: that is the answer, or the next model is asked."""
    fallback: Annotated[str, Reference("language_models")] | None = None
    """The model called when this one fails; default: the next one of the integration's order."""
    basic: BasicAnswer = field(default_factory=BasicAnswer)
    """With `builtin`: how it answers."""
    fine_tuning: HostedFineTuning | None = None
    """With `openai` and `openai_compatible`: what `models fine-tune --base-model` has tuned."""

    @property
    def hosted(self) -> bool:
        """Whether a provider runs it, and charges for it."""
        return self.provider in ("openai", "anthropic")

    @property
    def in_process(self) -> bool:
        """Whether it answers in this process, through no API."""
        return self.provider in ("local", "builtin")

    @property
    def can_be_tuned(self) -> bool:
        """Whether its provider has fine-tuning jobs behind the API of OpenAI."""
        return self.provider in ("openai", "openai_compatible")

    @property
    def url(self) -> str | None:
        """The address of `endpoint`; None where none is written. Raises NoUsableEndpoint."""
        return endpoint_url(self.endpoint) if self.endpoint else None

    @property
    def needs_network(self) -> bool:
        """Whether a call may leave this machine."""
        near = self.stays_local and self.endpoint is not None and is_loopback(self.endpoint)
        return not self.in_process and not near

    @property
    def sends_no_bill(self) -> bool:
        """Whether its calls cost this machine's time and nothing else: it runs here, in this
        process or behind an endpoint that stays local and has no prices."""
        return self.in_process or (self.prices is None and not self.needs_network)


_LOOPBACK = re.compile(
    r"https?://(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d*)?(/|$)", re.IGNORECASE
)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is written as a loopback address, or as localhost."""
    return _LOOPBACK.match(url) is not None


WHY_NOT_TUNED: Mapping[str, str] = {
    "anthropic": "Anthropic's API has no fine-tuning",
    "local": "an adapter is trained on its base, here",
    "builtin": "it is no model, so there is nothing to train",
}
"""Why a model is not fine-tuned by its provider, by the provider; the others can be."""


def models_named(word: str, models: Mapping[str, LanguageModel]) -> list[str]:
    """The names of the models that have this name or alias: at most one, unless two claim it."""
    return [name for name, model in models.items() if word == name or word in model.aliases]


FindModel = Callable[[str], LanguageModel | None]


def fallback_chain(
    first: str, find: FindModel, order: Iterable[str] = ()
) -> Iterator[tuple[str, LanguageModel | None]]:
    """The models that are asked, `first` included, each once, with their settings.

    After a model comes its own `fallback`, else the first of `order` that was not asked. The chain
    ends with a `builtin` model, which cannot fail. `find` returns None for an unknown model.
    """
    order = tuple(order)
    asked = {first}
    name: str | None = first
    while name is not None:
        model = find(name)
        yield name, model
        if model is not None and model.provider == "builtin":
            return
        own = model.fallback if model else None
        candidates = (own, *order) if own else order
        name = next((candidate for candidate in candidates if candidate not in asked), None)
        if name is not None:
            asked.add(name)


def fallback_cycle(first: str, find: FindModel, acyclic: set[str]) -> tuple[str, ...]:
    """The names of the cycle in which `fallback` leads from a model back to it; empty without one.

    `acyclic` are models known to lead into no cycle; those met on the way to an end are added.
    """
    asked: dict[str, None] = {first: None}
    name = first
    while True:
        model = find(name)
        following = model.fallback if model else None
        if following == first:
            return (*asked, first)
        if following is None or following in acyclic:
            acyclic.update(asked)
            return ()
        if following in asked:
            return ()
        asked[following] = None
        name = following
