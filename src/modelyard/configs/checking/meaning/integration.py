"""Contradictions in how the models work together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelyard.configs.checking.meaning import check_repeated, problem, warning
from modelyard.configs.checking.meaning.calls import check_order
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.integration import (
    AbTest,
    Budgets,
    FallbackStrategy,
    Integration,
    ModelIntegration,
    PerformanceMonitoring,
    RoutingRule,
    ServiceLimits,
    Variant,
)
from modelyard.configs.kinds.language_models import LanguageModel, fallback_chain
from modelyard.configs.kinds.performance_profiles import PerformanceProfile
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.settings.units import DURATION, MONEY, SHARE, TOKENS

_TOP = "model_integration"


def check(integration: Integration, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with how the models work together."""
    joint = integration.model_integration
    yield from _check_fallback(joint, view)
    yield from _check_rules(joint, view)
    yield from _check_local_only(joint, view)
    yield from _check_strategy(joint, view)
    yield from _check_budgets(joint.budgets)
    yield from _check_local_cost(joint, view)
    yield from _check_rates(joint.rate_limits)
    yield from _check_monitoring(joint.performance_monitoring)
    if joint.ab_test is not None:
        yield from _check_ab_test(joint.ab_test, view)


def _check_fallback(joint: ModelIntegration, view: EnvironmentView) -> Iterator[Diagnostic]:
    strategy: FallbackStrategy = joint.fallback_strategy
    if not strategy.enabled:
        return
    path: KeyPath = (_TOP, "fallback_strategy", "order")
    yield from check_order(strategy.order, path, view)
    first = joint.primary_models.language
    *_, (last, model) = fallback_chain(first, view.model, strategy.order)
    if model is not None and model.provider != "builtin":
        ends = f"ends in {last}, which can fail too" if strategy.order else "is empty"
        yield problem(
            path,
            "fallback-end",
            f"'{dotted(path)}' {ends}; the last one must be of the provider builtin, which needs "
            "no network and no weights",
            hint="add it at the end, such as basic_nlp",
        )


def _check_rules(joint: ModelIntegration, view: EnvironmentView) -> Iterator[Diagnostic]:
    rules = joint.routing.rules
    for place, rule in enumerate(rules):
        path: KeyPath = (_TOP, "routing", "rules", place)
        hiding = next((at for at in range(place) if _covers(rules[at], rule)), None)
        if hiding is not None:
            yield warning(
                path,
                "unreachable",
                f"rule {place + 1} is never reached: rule {hiding + 1} fits every request that it "
                "fits, and comes first",
                hint="put the narrower rule first",
            )
        elif not rule.domains and rule.longer_than_tokens is None:
            yield warning(
                path,
                "contradiction",
                f"rule {place + 1} fits every request, so that '{_TOP}.primary_models' and the "
                "domains' own models have no effect",
                hint="name 'domains' or 'longer_than_tokens'",
            )
        model = view.model(rule.model)
        longer = rule.longer_than_tokens
        if model is not None and longer is not None and longer >= model.context_tokens:
            yield problem(
                (*path, "longer_than_tokens"),
                "token-limits",
                f"requests of more than {TOKENS.show(longer)} tokens do not fit into the "
                f"{TOKENS.show(model.context_tokens)} tokens of {rule.model}",
                hint="take a model with a longer context, or lower the bound",
            )


def _covers(earlier: RoutingRule, later: RoutingRule) -> bool:
    """Whether the earlier rule fits every request that the later one fits."""
    if earlier.domains and not (later.domains and set(later.domains) <= set(earlier.domains)):
        return False
    if earlier.longer_than_tokens is None:
        return True
    return (later.longer_than_tokens or -1) >= earlier.longer_than_tokens


def _check_local_only(joint: ModelIntegration, view: EnvironmentView) -> Iterator[Diagnostic]:
    path: KeyPath = (_TOP, "routing", "local_only")
    domains = joint.routing.local_only
    yield from check_repeated(domains, path)
    for domain in dict.fromkeys(domains):
        place: KeyPath = (*path, domains.index(domain))
        hint = "name a local model there, or take the domain out of 'local_only'"
        stays = _has_local_model(joint, domain, view)
        for role, name in dict.fromkeys(_models_that_may_answer(joint, domain, view)):
            model = view.model(name)
            if model is None or not model.needs_network:
                continue
            said = (
                f"'{domain}' must stay on this machine, and {role} is {name}, which needs the "
                "network and is left out"
            )
            if stays:
                yield warning(place, "leaves-the-machine", said, hint)
            else:
                yield problem(
                    place, "leaves-the-machine", f"{said}, so that no model can answer", hint
                )


def _has_local_model(joint: ModelIntegration, domain: str, view: EnvironmentView) -> bool:
    """Whether a model is left for a domain without those that need a network."""
    return any(
        model is not None and not model.needs_network
        for _, model in _models_asked(joint, domain, view)
    )


def _models_asked(
    joint: ModelIntegration, domain: str, view: EnvironmentView
) -> list[tuple[str, LanguageModel | None]]:
    """The models that are asked for a domain, one after the other, with its own profile."""
    settings = view.domain(domain)
    if settings is None:
        return []
    profile: PerformanceProfile | None = view.settings("performance_profiles", settings.profile)
    strategy = joint.fallback_strategy
    order = strategy.order if settings.fallback is None else settings.fallback
    first = (profile and profile.model) or settings.model
    chain = list(fallback_chain(first, view.model, order))
    return chain if strategy.enabled else chain[:1]


def _models_that_may_answer(
    joint: ModelIntegration, domain: str, view: EnvironmentView
) -> Iterator[tuple[str, str]]:
    """The role and name of every model that may answer requests of a domain."""
    settings = view.domain(domain)
    if settings is None:
        return
    yield "its model", settings.model
    profile: PerformanceProfile | None = view.settings("performance_profiles", settings.profile)
    if profile is not None and profile.model is not None:
        yield f"the model of its profile {settings.profile}", profile.model
    task = joint.primary_models.tasks.get(domain, domain)
    for place, rule in enumerate(joint.routing.rules):
        if not rule.domains or {domain, task} & set(rule.domains):
            yield f"the model of routing rule {place + 1}", rule.model
    test = joint.ab_test
    for side, variant in (("a", test.a), ("b", test.b)) if test else ():
        if variant.model is not None and {domain, task} & set(test.domains if test else ()):
            yield f"the model of variant {side} of its A/B test", variant.model
    for name, _ in _models_asked(joint, domain, view)[1:]:
        yield "a model of its fallback", name


def _check_strategy(joint: ModelIntegration, view: EnvironmentView) -> Iterator[Diagnostic]:
    if joint.routing.strategy != "cheapest":
        return
    for name in dict.fromkeys((joint.primary_models.language, *joint.fallback_strategy.order)):
        model = view.model(name)
        if model is not None and not model.sends_no_bill and model.prices is None:
            yield problem(
                (_TOP, "routing", "strategy"),
                "unknown-price",
                f"'cheapest' needs prices, and those of {name} are unknown",
                hint=f"give {name} its 'prices'; $0 for one of your own",
            )


def _check_budgets(budgets: Budgets) -> Iterator[Diagnostic]:
    yield from _check_larger(("per_day", budgets.per_day_usd), ("per_month", budgets.per_month_usd))
    yield from _check_larger(
        ("per_organisation_per_day", budgets.per_organisation_per_day_usd),
        ("per_day", budgets.per_day_usd),
    )
    if budgets.warn_at == 0:
        yield warning(
            (_TOP, "budgets", "warn_at"),
            "contradiction",
            "'warn_at' of 0% warns before anything is spent, and so always",
            hint="80% is usual",
        )


def _check_local_cost(joint: ModelIntegration, view: EnvironmentView) -> Iterator[Diagnostic]:
    if joint.local_cost_per_hour_usd is None:
        return
    models = map(view.model, view.configs.names("language_models"))
    if not any(model is not None and model.provider == "local" for model in models):
        yield warning(
            (_TOP, "local_cost_per_hour"),
            "ignored-setting",
            f"'{_TOP}.local_cost_per_hour' has no effect: no language model is of the provider "
            "local",
            hint="leave it out",
        )


def _check_larger(
    small: tuple[str, float | None], large: tuple[str, float | None]
) -> Iterator[Diagnostic]:
    (key, less), (larger_key, more) = small, large
    if less is not None and more is not None and less > more:
        yield problem(
            (_TOP, "budgets", key),
            "contradiction",
            f"'budgets.{key}' ({MONEY.show(less)}) is more than 'budgets.{larger_key}' "
            f"({MONEY.show(more)}), and can never be reached",
            hint="exchange the two, or lower it",
        )


def _check_rates(limits: ServiceLimits) -> Iterator[Diagnostic]:
    of_one, of_all = limits.requests_per_minute_per_organisation, limits.requests_per_minute
    if of_one is not None and of_all is not None and of_one > of_all:
        yield warning(
            (_TOP, "rate_limits", "requests_per_minute_per_organisation"),
            "contradiction",
            f"one organisation may send {of_one} requests a minute and all together {of_all}: one "
            "can shut out all others",
            hint="lower it",
        )


def _check_monitoring(monitoring: PerformanceMonitoring) -> Iterator[Diagnostic]:
    path: KeyPath = (_TOP, "performance_monitoring")
    thresholds = monitoring.alert_thresholds
    given: Mapping[str, float | None] = {
        "latency": thresholds.latency_s,
        "accuracy": thresholds.accuracy,
        "cost_per_request": thresholds.cost_per_request_usd,
        "error_rate": thresholds.error_rate,
    }
    measured: tuple[str, ...] = monitoring.metrics
    for repeated in check_repeated(measured, (*path, "metrics")):
        yield replace(repeated, level="warning")
    for metric, limit in given.items():
        if limit is not None and metric not in measured:
            yield problem(
                (*path, "alert_thresholds", metric),
                "not-measured",
                f"'alert_thresholds.{metric}' can never be breached: '{metric}' is not in "
                "'metrics', and so not measured",
                hint=f"add {metric} to 'metrics'",
            )
    if monitoring.retention.age_s < monitoring.window_s:
        yield problem(
            (*path, "retention", "age"),
            "contradiction",
            f"samples are kept for {DURATION.show(monitoring.retention.age_s)}, and the last "
            f"{DURATION.show(monitoring.window_s)} are judged ('window')",
            hint="keep them longer, or judge less",
        )


def _check_ab_test(test: AbTest, view: EnvironmentView) -> Iterator[Diagnostic]:
    path: KeyPath = (_TOP, "ab_test")
    yield from check_repeated(test.domains, (*path, "domains"))
    if _overrides(test.a) == _overrides(test.b):
        yield problem(
            (*path, "b"),
            "contradiction",
            "'ab_test.a' and 'ab_test.b' are the same, so that nothing is compared",
            hint="give one of them another model, profile or adapter",
        )
    given = [side.share for side in (test.a, test.b) if side.share is not None]
    if len(given) == 2 and abs(sum(given) - 1) > 1e-9:
        yield problem(
            (*path, "b", "share"),
            "contradiction",
            f"the shares of 'ab_test.a' and 'ab_test.b' are {SHARE.show(sum(given))} together",
            hint="leave one of them out: it is what the other leaves",
        )
    for side, variant in (("a", test.a), ("b", test.b)):
        for key in () if test.domains else ("profile", "adapter"):
            if getattr(variant, key) is not None:
                yield problem(
                    (*path, side, key),
                    "ignored-setting",
                    f"'ab_test.{side}.{key}' has no effect: requests without a domain have no "
                    f"{key} of their own",
                    hint="name the domains of the test in 'ab_test.domains'",
                )
        if variant.model is None:
            continue
        for domain in test.domains:
            settings = view.settings("specialized_models", domain)
            name = variant.profile or (settings and settings.profile)
            profile = view.settings("performance_profiles", name) if name else None
            if profile is not None and profile.model not in (None, variant.model):
                yield warning(
                    (*path, side, "model"),
                    "ignored-setting",
                    f"'ab_test.{side}.model' has no effect for {domain}: its profile {name} names "
                    f"{profile.model}, which comes first",
                    hint=f"give the variant a profile that names no model, or {variant.model}",
                )


def _overrides(variant: Variant) -> Variant:
    return replace(variant, share=None)
