"""The effective settings of a domain: what they are, and how those of two moments differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from modelyard.configs.compare import (
    SettingChange,
    compare_flat,
    flat_values,
    shown_value,
    without_empty,
)
from modelyard.configs.fields import SettingValue
from modelyard.configs.kinds.integration import (
    Budgets,
    FallbackStrategy,
    PerformanceMonitoring,
    RecordPrompts,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.performance_profiles import AnswerCache, Batching
from modelyard.configs.kinds.specialized_models import InputRules, OutputRules, Quality
from modelyard.core.errors import KeyPath
from modelyard.settings.units import DURATION, MONEY, SHARE, TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveModel:
    """A language model with the domain's layers applied."""

    name: str
    """Its name."""
    settings: LanguageModel
    """Its settings: generation, attempts and adapter are those of the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRule:
    """A routing rule that applies to a domain."""

    longer_than_tokens: Annotated[int, TOKENS] | None
    """Applies to requests with more input tokens than this; None: to all."""
    model: EffectiveModel
    """The model that answers them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRetrieval:
    """What is retrieved for a request."""

    domains: tuple[str, ...]
    """Search indexes, NAME or GROUP/NAME."""
    top: int
    """Chunks that the model gets."""
    max_tokens: Annotated[int, TOKENS]
    """The most tokens that they may take together."""
    rerank: bool
    """Whether a cross-encoder reranks them, where one is configured."""
    least_similarity: Annotated[float, SHARE] | None
    """Least cosine of the question and a chunk; None: any is taken."""
    required: bool
    """Whether the model answers only from them: where nothing is found, none is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The effective settings of one domain in one environment."""

    environment: str
    """The environment."""
    revision: int
    """The live revision that they come from."""
    domain: str | None
    """The domain; None for requests without one."""
    specialized_model: str | None
    """The specialised model of the domain."""
    profile: str | None
    """The active performance profile."""
    model: EffectiveModel
    """The model that answers unless a routing rule applies."""
    fallback: tuple[EffectiveModel, ...]
    """The models that are tried next, in this order, when the ones before failed."""
    kept_off: tuple[str, ...]
    """Models that are left out since the domain is local_only, and they need a network."""
    instructions: str
    """The system prompt."""
    input: InputRules
    """Rules for requests."""
    output: OutputRules
    """Rules for answers."""
    retrieval: EffectiveRetrieval | None
    """What is retrieved for a request; None: nothing."""
    quality: Quality
    """The quality that the domain must reach."""
    timeout_s: Annotated[float, DURATION] | None
    """The time for the whole answer, all calls and waits together; None: no limit but those of the
    calls."""
    samples: int
    """Answers sampled for a request; of several, the majority answer is returned."""
    max_cost_per_request_usd: Annotated[float, MONEY] | None
    """A request that could cost more is refused before any call; None: no limit."""
    cache: AnswerCache
    """The answer cache."""
    batching: Batching
    """How requests are batched."""
    strategy: Literal["primary_first", "cheapest", "fastest"]
    """How a model is chosen among those that could answer."""
    local_only: bool
    """Whether requests never leave this machine; models that need a network are left out then."""
    rules: tuple[EffectiveRule, ...]
    """The routing rules of this domain; the first match decides."""
    fallback_strategy: FallbackStrategy
    """When a model counts as failing, and for how long."""
    rate_limits: ServiceLimits
    """The limits of this service."""
    budgets: Budgets
    """The budgets."""
    record_prompts: RecordPrompts
    """Whether the texts of requests and answers are kept."""
    local_cost_per_hour_usd: Annotated[float, MONEY] | None = None
    """What an hour of this machine costs; None: answers of local models cost nothing."""
    monitoring: PerformanceMonitoring
    """What is monitored, and the alert thresholds."""
    variant: str | None = None
    """The variant of an A/B test that these are the settings of, `NAME/a` or `NAME/b`."""
    ab_test: EffectiveAbTest | None = None
    """The A/B test that requests of this domain are in; None: none, or these are a variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveAbTest:
    """An A/B test of a domain, with the settings of both variants."""

    name: str
    """Its name."""
    share_of_b: float
    """The share of those who ask that get the second variant."""
    a: Effective
    """The settings of the first."""
    b: Effective
    """Those of the second."""


def compare_effective(before: Effective, after: Effective) -> tuple[SettingChange, ...]:
    """Every effective setting of a domain that differs, with its unit."""
    return without_empty(compare_flat(_shown(before), _shown(after)))


def _shown(effective: Effective) -> Mapping[KeyPath, Any]:
    return {
        setting.path: shown_value(setting.field.hint, setting.parsed)
        for setting in effective_values(effective)
    }


_NOT_A_SETTING = ("environment", "revision", "domain", "kept_off", "variant", "ab_test")


def effective_values(effective: Effective) -> Iterator[SettingValue]:
    """Each effective setting; of fallback models and rules only the names.

    The settings of the model come right below `model`, such as `model.timeout`.
    """
    names = {
        ("fallback",): tuple(model.name for model in effective.fallback),
        ("rules",): tuple(
            f"{rule.model.name} above {rule.longer_than_tokens or 0} tokens"
            for rule in effective.rules
        ),
    }
    for setting in flat_values(effective):
        path = setting.path
        if path[0] in _NOT_A_SETTING:
            continue
        if path in names:
            setting = replace(setting, parsed=names[path])
        elif path[:2] == ("model", "settings"):
            setting = replace(setting, path=("model", *path[2:]))
        yield setting
