"""How the models work together: primary models, fallback, routing, budgets, monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelyard.configs.kinds.parts import Name
from modelyard.settings.marks import Range, Reference
from modelyard.settings.units import DURATION, MONEY, SHARE, SIZE, TOKENS

Metric = Literal["latency", "accuracy", "cost_per_request", "error_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryModels:
    """The models that answer by default."""

    language: Annotated[str, Reference("language_models")]
    """The language model for requests that name no domain."""
    embeddings: Annotated[str, Reference("search_domains")] | None = None
    """The search domain, GROUP/DOMAIN, from which requests without a domain get chunks; left out:
    they get none."""
    tasks: Mapping[Name, Annotated[str, Reference("specialized_models")]] = field(
        default_factory=dict
    )
    """The specialised model for a domain; default: the one of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackStrategy:
    """Which models are called when one fails."""

    enabled: bool = True
    """Whether there is a fallback; without one the failure is returned."""
    order: tuple[Annotated[str, Reference("language_models")], ...] = ()
    """Models in the order they are called; the last one must need no network and no weights."""
    failure_threshold: Annotated[int, Range(1, 100)] = 3
    """Failures in a row after which a model is not called for a while."""
    cool_down_s: Annotated[float, DURATION, Range(1, 86400)] = 30.0
    """How long it is not called; then one request tries it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRule:
    """One exception: which requests go to which model. The first rule that matches decides."""

    domains: tuple[Annotated[str, Reference("specialized_models")], ...] = ()
    """Requests of these domains; empty: of any."""
    longer_than_tokens: Annotated[int, TOKENS, Range(0)] | None = None
    """Requests with more tokens of input than this; left out: of any length."""
    model: Annotated[str, Reference("language_models")]
    """The language model that answers them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which model answers a request."""

    strategy: Literal["primary_first", "cheapest", "fastest"] = "primary_first"
    """How one is chosen among those that could answer; prices and measured times decide."""
    local_only: tuple[Annotated[str, Reference("specialized_models")], ...] = ()
    """Domains whose requests never leave this machine: models that need a network are left out."""
    rules: tuple[RoutingRule, ...] = ()
    """Exceptions, tried in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """How many requests this service accepts."""

    requests_per_minute: Annotated[int, Range(1)] | None = None
    """Requests in any minute, of all organisations."""
    tokens_per_minute: Annotated[int, TOKENS, Range(1)] | None = None
    """Tokens in any minute, of all organisations."""
    requests_per_minute_per_organisation: Annotated[int, Range(1)] | None = None
    """Requests in any minute, of one organisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What may be spent; a request that could exceed it is refused before any call."""

    per_day_usd: Annotated[float, MONEY, Range(0)] | None = None
    """In a day (UTC)."""
    per_month_usd: Annotated[float, MONEY, Range(0)] | None = None
    """In a calendar month (UTC)."""
    per_organisation_per_day_usd: Annotated[float, MONEY, Range(0)] | None = None
    """By one organisation in a day (UTC)."""
    warn_at: Annotated[float, SHARE, Range(0, 1)] = 0.8
    """Share of a budget at which `models monitor` and `models budgets` give a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """What is reported as a breach."""

    latency_s: Annotated[float, DURATION, Range(0.001)] | None = None
    """Longest time of an answer, at the percentile below."""
    accuracy: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Least share of right answers."""
    cost_per_request_usd: Annotated[float, MONEY, Range(0)] | None = None
    """Highest mean cost of a request."""
    error_rate: Annotated[float, SHARE, Range(0, 1)] | None = None
    """Highest share of failed requests."""
    backup_age_s: Annotated[float, DURATION, Range(60)] | None = None
    """How long ago the last backup that left nothing out may be."""
    drill_age_s: Annotated[float, DURATION, Range(60)] | None = None
    """How long ago the last `models backup drill` that went well may be."""
    latency_percentile: Literal[50, 90, 95, 99] = 95
    """The percentile that is compared with `latency`."""
    for_s: Annotated[float, DURATION, Range(0)] = 0.0
    """How long a threshold must be breached before `models monitor --on-change` or `--notify` gives
    an alert."""
    clear_after_s: Annotated[float, DURATION, Range(0)] | None = None
    """How long it must be kept before the alert ends; left out: as long as `for`."""
    clear_margin: Annotated[float, SHARE, Range(0, 0.9)] = 0.0
    """By how much a value must be better than its threshold to end an alert: a share of the
    threshold, and for accuracy of what may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRetention:
    """How long samples are kept; their hourly figures stay for ever, and so do rated answers."""

    age_s: Annotated[float, DURATION, Range(86400, 10 * 365 * 86400)] = 365 * 86400.0
    """How old a sample becomes; whole hours go at once."""
    size_bytes: Annotated[int, SIZE, Range(8_000_000)] = 4_000_000_000
    """How large `traffic.db`, which all environments share, becomes before its oldest samples go;
    the smallest size of those that `models monitor` runs with counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceMonitoring:
    """What is measured."""

    enabled: bool = True
    """Whether requests are measured."""
    metrics: tuple[Metric, ...] = ("latency", "accuracy", "cost_per_request", "error_rate")
    """What is measured, and judged where it has a threshold."""
    window_s: Annotated[float, DURATION, Range(1)] = 900.0
    """The time over which requests are aggregated and judged; `fastest` goes by the times in it."""
    alert_thresholds: AlertThresholds = field(default_factory=AlertThresholds)
    """What counts as a breach."""
    retention: SampleRetention = field(default_factory=SampleRetention)
    """How long samples are kept; `models monitor` removes older ones, once an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPrompts:
    """Whether the texts of requests and answers are kept; what is measured never has them."""

    enabled: bool = False
    """Whether they are kept, with their secrets masked, in a file that only its owner can read."""
    retention_s: Annotated[float, DURATION, Range(60, 10 * 365 * 86400)] = 30 * 86400.0
    """How long they are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What requests to `models serve` may name."""

    bases: tuple[Annotated[str, Reference("base_models")], ...] = ()
    """Base models."""
    domains: tuple[Annotated[str, Reference("specialized_models")], ...] = ()
    """Domains, with all that they retrieve."""
    search_domains: tuple[Annotated[str, Reference("search_domains")], ...] = ()
    """Search domains, GROUP/DOMAIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What organisations may use of `models serve`, besides their own adapters and the bases of
    those. What is named nowhere is answered as if it did not exist.
    """

    everyone: Served = field(default_factory=Served)
    """For every organisation."""
    organisations: Mapping[Name, Served] = field(default_factory=dict)
    """For one organisation, besides."""
    audit_prompts: bool = False
    """Whether the audit log keeps what was asked, with secrets masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What one side of an A/B test has instead of what the configs say."""

    profile: Annotated[str, Reference("performance_profiles")] | None = None
    """The performance profile of the domains."""
    model: Annotated[str, Reference("language_models")] | None = None
    """The language model, which the profile and routing rules come before as always."""
    adapter: Annotated[str, Reference("adapters")] | None = None
    """The adapter of the domains, with a local model."""
    share: Annotated[float, SHARE, Range(0.01, 0.99)] | None = None
    """Share of those who ask that get it; left out: what the other side leaves, or half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTest:
    """Two variants that are tried side by side, each by a part of those who ask."""

    name: Name
    """Its name, which records of answers carry; another name splits anew and counts from 0."""
    domains: tuple[Annotated[str, Reference("specialized_models")], ...] = ()
    """Requests of these domains; empty: those without a domain."""
    a: Variant
    """The first variant; an empty mapping is what the configs say."""
    b: Variant
    """The second."""

    @property
    def share_of_b(self) -> float:
        """The share of those who ask that get the second."""
        if self.b.share is not None:
            return self.b.share
        return 0.5 if self.a.share is None else 1 - self.a.share


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIntegration:
    """How the models work together."""

    primary_models: PrimaryModels
    """The models that answer by default."""
    fallback_strategy: FallbackStrategy = field(default_factory=FallbackStrategy)
    """Which models are called when one fails."""
    routing: Routing = field(default_factory=Routing)
    """Which model answers a request."""
    rate_limits: ServiceLimits = field(default_factory=ServiceLimits)
    """How many requests this service accepts."""
    budgets: Budgets = field(default_factory=Budgets)
    """What may be spent."""
    record_prompts: RecordPrompts = field(default_factory=RecordPrompts)
    """Whether the texts of requests and answers are kept."""
    local_cost_per_hour_usd: Annotated[float, MONEY, Range(0)] | None = None
    """What an hour of this machine costs, which answers of local models then count with; left
    out, they cost nothing, since nobody sends a bill for them."""
    performance_monitoring: PerformanceMonitoring = field(default_factory=PerformanceMonitoring)
    """What is measured."""
    ab_test: AbTest | None = None
    """Two variants that are tried side by side; left out: everybody gets what the configs say."""
    service: Service = field(default_factory=Service)
    """What `models serve` lets organisations use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    """How the models work together: fallback, routing, budgets, alerts."""

    model_integration: ModelIntegration
    """All settings, under the key that other tools read."""
