"""A performance profile: one balance of accuracy, speed and cost, for any domain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from modelyard.configs.kinds.parts import Generation, OneLine
from modelyard.settings.marks import Range, Reference, Unread
from modelyard.settings.units import DURATION, MONEY, TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCache:
    """Answers kept for the same request of the same organisation."""

    enabled: bool = False
    """Whether answers are kept."""
    lifetime_s: Annotated[float, DURATION, Range(1)] = 3600.0
    """How long an answer is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How many answers of a domain a local model computes together."""

    max_requests: Annotated[int, Range(1, 1024)] | None = None
    """The most answers of the domain in one step of a local model; further ones wait. Fewer are
    each sooner done, more are more in an hour. Left out: as many as the engine computes."""
    max_wait_s: (
        Annotated[
            float,
            DURATION,
            Range(0, 60),
            Unread("a request joins the next step and waits for no others"),
        ]
        | None
    ) = None
    """How long a request waited for others to be computed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEffort:
    """How much is retrieved; what is left out stays as in the domain."""

    top: Annotated[int, Range(1, 100)] | None = None
    """Chunks that the model gets."""
    max_tokens: Annotated[int, TOKENS, Range(1)] | None = None
    """Tokens of all chunks together."""
    rerank: bool | None = None
    """Rerank them with a cross-encoder, where one is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceProfile:
    """One balance of accuracy, speed and cost. What is left out stays as in the domain."""

    description: OneLine
    """What is gained and what is paid for it, in one line."""
    model: Annotated[str, Reference("language_models")] | None = None
    """The language model instead of the domain's."""
    generation: Generation = field(default_factory=Generation)
    """How answers are generated; overrides domain and language model."""
    samples: Annotated[int, Range(1, 16)] = 1
    """Answers generated for a request; with several, the majority answer is returned."""
    timeout_s: Annotated[float, DURATION, Range(0.01, 86400)] | None = None
    """The time for the whole answer: all calls, repetitions and waits together."""
    attempts: Annotated[int, Range(0, 10)] | None = None
    """Times a failed call is repeated, instead of the language model's."""
    max_cost_per_request_usd: Annotated[float, MONEY, Range(0)] | None = None
    """A request that could cost more is refused before any call."""
    retrieval: RetrievalEffort = field(default_factory=RetrievalEffort)
    """How much is retrieved."""
    cache: AnswerCache = field(default_factory=AnswerCache)
    """Answers kept."""
    batching: Batching = field(default_factory=Batching)
    """How many answers are computed together."""
