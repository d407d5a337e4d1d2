"""What somebody should look at in the configs of an environment once a month.

Configs that nothing uses, prices that are not those of the list, models and domains that nobody
asked. None of it is wrong by itself, so nothing here is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from modelyard.answering.money.listed_prices import load_price_list
from modelyard.answering.money.price_check import PriceState, check_prices
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import EmbeddingGroup
from modelyard.configs.reading.references import references
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.deployments.live_domains import live_domains, profile_in_use
from modelyard.deployments.models_in_use import Uses, models_in_use
from modelyard.deployments.revisions import not_deployed
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import Snapshot
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.periods import GroupBy, Period, read_period
from modelyard.monitoring.samples import open_traffic

Topic = Literal["unused", "price", "never answered", "never asked"]
_DAY_MS = 86_400_000
_PRICES: dict[PriceState, str] = {
    "different": "its prices are not those of the list",
    "tiered": "the list has other prices for long inputs",
    "missing": "it has no prices, so what it costs is unknown",
    "stale": "the list is too old to say whether its prices are right",
    "unlisted": "the list does not know it, so its prices were not compared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFinding:
    """One thing to look at."""

    topic: Topic
    """What it is about."""
    config: str
    """The config, as KIND/NAME."""
    said: str
    """What was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReview:
    """What to look at in the configs of an environment."""

    environment: str
    """The environment."""
    configs: int
    """How many configs it has."""
    days: int
    """Over how many days answers were looked at."""
    answers: int
    """How many answers are recorded in them; 0: what was never asked is not known."""
    findings: tuple[ReviewFinding, ...]
    """Each thing to look at, by topic."""


def review_configs(
    project: Project, environment: str, *, days: int, most_days_of_prices: int, now_ms: int
) -> ConfigReview:
    """Review the configs that run in an environment.

    days: a model or domain without an answer in so many days is named.
    most_days_of_prices: a list of prices that is older says nothing.
    Raises NotDeployed, and what `running_snapshot` raises.
    """
    number, snapshot = running_snapshot(project, environment)
    if not number and environment != DEFAULT_ENVIRONMENT:
        raise not_deployed(environment)
    used = models_in_use(snapshot, environment, number)
    period = Period(start_ms=now_ms - days * _DAY_MS, end_ms=now_ms + 1)
    by_model = _answers(project, environment, period, "model")
    answers = sum(by_model.values())
    findings = [
        *_unused(snapshot, used),
        *_prices(environment, snapshot, used, most_days_of_prices, now_ms),
    ]
    if answers:
        by_domain = _answers(project, environment, period, "domain")
        findings += [
            ReviewFinding(
                topic="never answered",
                config=f"language_models/{name}",
                said=f"in use {_where(domains)}, and it answered nothing in {counted(days, 'day')}",
            )
            for name, domains in sorted(used.items())
            if not by_model.get(name)
        ]
        findings += [
            ReviewFinding(
                topic="never asked",
                config=f"specialized_models/{model}",
                said=f"nobody asked the domain {domain} in {counted(days, 'day')}",
            )
            for domain, model in live_domains(snapshot).items()
            if not by_domain.get(domain)
        ]
    return ConfigReview(
        environment=environment,
        configs=len(snapshot.configs),
        days=days,
        answers=answers,
        findings=tuple(findings),
    )


def _answers(
    project: Project, environment: str, period: Period, by: GroupBy
) -> dict[str | None, int]:
    """How many requests were answered by each model, or asked of each domain."""
    with open_traffic(project) as traffic:
        figures = read_period(traffic, choose_answers(project, environment, None), period, by)
    outcomes = () if by == "domain" else ("answered",)
    return {name: totals.requests(*outcomes) for name, [totals] in figures.items()}


def _unused(snapshot: Snapshot, used: dict[str, Uses]) -> Iterator[ReviewFinding]:
    """Configs that no request can lead to. Fine-tuning settings and suites are named by people."""
    for name in snapshot.names("language_models"):
        if name not in used:
            yield _not_used("language_models", name, "no domain, rule or fallback leads to it")
    profiles = {profile_in_use(snapshot, domain) for domain in live_domains(snapshot)}
    for name in snapshot.names("performance_profiles"):
        if name not in profiles:
            yield _not_used("performance_profiles", name, "no domain has it")
    groups, indexes = _searched(snapshot)
    for name in snapshot.names("embedding_models"):
        group: EmbeddingGroup = snapshot.settings(f"embedding_models/{name}")
        own = {f"{name}/{index}" for index in group.domains} | set(group.domains)
        if group.domains and name not in groups and not own & indexes:
            yield _not_used(
                "embedding_models", name, "no domain and no search leads to its indexes"
            )


def _not_used(kind: str, name: str, why: str) -> ReviewFinding:
    return ReviewFinding(topic="unused", config=f"{kind}/{name}", said=why)


def _searched(snapshot: Snapshot) -> tuple[set[str], set[str]]:
    """The groups and the indexes that another config names."""
    named = [
        reference
        for label in snapshot.configs
        for reference in references(snapshot.settings(label))
    ]
    groups = {reference.target for reference in named if reference.to == "embedding_models"}
    return groups, {reference.target for reference in named if reference.to == "search_domains"}


def _prices(
    environment: str, snapshot: Snapshot, used: dict[str, Uses], most_days: int, now_ms: int
) -> Iterator[ReviewFinding]:
    names = snapshot.names("language_models")
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    found = check_prices(
        environment,
        {name: snapshot.settings(f"language_models/{name}") for name in names},
        frozenset(used),
        load_price_list(today),
        today=today,
        max_age_s=most_days * 86_400,
    )
    for model in found.models:
        if model.in_use and model.state in _PRICES:
            yield ReviewFinding(
                topic="price", config=f"language_models/{model.model}", said=_PRICES[model.state]
            )


def _where(domains: Uses) -> str:
    named = sorted(domain for domain in domains if domain is not None)
    return f"in {', '.join(named)}" if named else "for requests without a domain"
