"""A domain of work, such as code analysis: its model, instructions and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from modelyard.configs.kinds.parts import Generation, OneLine
from modelyard.settings.marks import Range, Reference
from modelyard.settings.units import SHARE, TOKENS

ModelOrder = tuple[Annotated[str, Reference("language_models")], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRules:
    """What a request may be."""

    max_tokens: Annotated[int, TOKENS, Range(1)] | None = None
    """Longest input in tokens; what is longer is refused before any call."""
    languages: tuple[str, ...] = ()
    """Languages of a request, such as python or de: one that names another, as its language or,
    where the list has a programming language, on a code block, is refused before any call. One that
    names none is answered. Empty: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules:
    """What an answer must be."""

    format: Literal["text", "markdown", "json"] = "text"
    """The form of an answer."""
    json_schema: Mapping[str, Any] | None = None
    """With `json`: the JSON Schema that an answer must meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What is retrieved for a request and given to the model."""

    domains: tuple[Annotated[str, Reference("search_domains")], ...]
    """Indexes, DOMAIN or GROUP/DOMAIN."""
    top: Annotated[int, Range(1, 100)] = 5
    """Chunks that the model gets."""
    max_tokens: Annotated[int, TOKENS, Range(1)] = 2000
    """Tokens of all chunks together."""
    least_similarity: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least cosine of the question and a chunk; others are left out. Left out: any is taken."""
    required: bool = False
    """Answer only from what is found: where nothing is, no model is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The quality that this domain must reach to be used."""

    accuracy: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least share of right answers."""
    test_suite: Annotated[str, Reference("test_suites")] | None = None
    """The test suite that measures it: the one of `models performance-test --domain` by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecializedModel:
    """One domain of work: the model, the instructions and the sources it gets."""

    description: OneLine
    """What this domain is, in one line."""
    model: Annotated[str, Reference("language_models")]
    """The language model that answers, unless a profile or a routing rule says otherwise."""
    adapter: Annotated[str, Reference("adapters")] | None = None
    """With a local model: the adapter for this domain, instead of the model's own."""
    profile: Annotated[str, Reference("performance_profiles")] = "balanced"
    """The performance profile until `models switch-config` chooses another."""
    instructions: str
    """The system prompt of every request."""
    generation: Generation = field(default_factory=Generation)
    """How answers are generated; overrides the language model's, is overridden by the profile's."""
    input: InputRules = field(default_factory=InputRules)
    """What a request may be."""
    output: OutputRules = field(default_factory=OutputRules)
    """What an answer must be."""
    retrieval: Retrieval | None = None
    """What is retrieved for a request; left out: nothing."""
    fallback: ModelOrder | None = None
    """Models called in this order when the model fails; default: the integration's order."""
    quality: Quality = field(default_factory=Quality)
    """What this domain must reach."""
