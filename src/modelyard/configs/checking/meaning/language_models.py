"""Contradictions in the config of a language model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from modelyard.configs.checking.meaning import check_repeated, problem, warning
from modelyard.configs.checking.meaning.calls import check_endpoint, check_generation
from modelyard.configs.checking.meaning.references import check_reference
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.language_models import (
    WHY_NOT_TUNED,
    BasicAnswer,
    LanguageModel,
    Prices,
    PriceTier,
    fallback_cycle,
    is_loopback,
)
from modelyard.configs.reading.references import ConfigReference
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.core.seen_from import STDIN
from modelyard.settings.units import DURATION, TOKENS


def check(model: LanguageModel, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one language model."""
    if model.aliases:
        yield from _check_aliases(model, name, view)
    yield from _check_provider(model)
    yield from _check_prices(model)
    yield from _check_fine_tuning(model)
    yield from _check_limits(model)
    yield from check_generation(model.generation, ("generation",), model, name)
    yield from check_endpoint(model.endpoint, model.api_key, ("endpoint",))
    if model.provider == "local" and view.has_project:
        yield from _check_local(model, view)
    if model.fallback is not None:
        yield from _check_fallback(model, name, view)


def _check_aliases(model: LanguageModel, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    yield from check_repeated(model.aliases, ("aliases",))
    for place, alias in enumerate(model.aliases):
        path = ("aliases", place)
        if alias == name:
            message = f"'{alias}' is the name of this model already"
            yield problem(path, "repeated", message, hint="leave it out")
        others = [other for other in view.models_called(alias) if other != name]
        if others and name == STDIN:  # which may be that of one of them
            yield warning(
                path,
                "name-taken",
                f"'{alias}' also means the language model {others[0]}, and which file this is the "
                "content of is not known",
                hint="say it: `--stdin-filename FILE`",
            )
        elif others:
            how = "the name" if others[0] == alias else "an alias"
            more = f" and {len(others) - 1} more" if others[1:] else ""
            yield problem(
                path,
                "name-taken",
                f"'{alias}' is {how} of the language model {others[0]}{more} as well, "
                "so a request for it could mean either",
                hint="leave it with one of them",
            )
        yield from _check_other_kinds(alias, path, view)


def _check_other_kinds(alias: str, path: KeyPath, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Whether a base or an adapter is called like the alias."""
    for kind, folder in (
        ("base", view.surroundings.bases),
        ("adapter", view.surroundings.versions),
    ):
        if (folder / alias).is_dir():
            yield warning(
                path,
                "ambiguous-reference",
                f"'{alias}' is the name of {'a base' if kind == 'base' else 'an adapter'} too, so "
                "the bare name fits both",
                hint=f"choose another alias, or say which is meant: {kind}:{alias}, model:{alias}",
            )


def _check_provider(model: LanguageModel) -> Iterator[Diagnostic]:
    provider = model.provider
    if provider == "openai_compatible" and model.endpoint is None:
        yield problem(
            ("endpoint",),
            "incomplete",
            "'endpoint' is required for the provider openai_compatible: it has no default URL",
            hint="such as `endpoint: http://localhost:8000/v1`",
        )
    if model.hosted and model.api_key is None:
        name = "OPENAI_API_KEY" if provider == "openai" else "ANTHROPIC_API_KEY"
        yield problem(
            ("api_key",),
            "incomplete",
            f"'api_key' is required for the provider {provider}, which refuses requests without "
            "one",
            hint=f"such as `api_key: env:{name}`",
        )
    if model.adapter is not None and provider != "local":
        yield problem(
            ("adapter",),
            "contradiction",
            f"'adapter' has no effect with the provider {provider}: only a local model takes one",
            hint="leave it out, or set `provider: local`",
        )
    if model.in_process:
        yield from _check_nothing_hosted(model)
    if model.stays_local:
        yield from _check_stays_local(model)
    if provider == "builtin" and model.fallback is not None:
        yield problem(
            ("fallback",),
            "unreachable",
            "'fallback' is never asked: the builtin answer needs nothing, and so cannot fail",
            hint="leave it out",
        )
    if provider != "builtin" and model.basic != BasicAnswer():
        yield warning(
            ("basic",),
            "ignored-setting",
            f"'basic' has no effect with the provider {provider}: it says how builtin answers",
            hint="leave it out",
        )


def _check_nothing_hosted(model: LanguageModel) -> Iterator[Diagnostic]:
    for key in ("endpoint", "api_key", "prices"):
        if getattr(model, key) is not None:
            yield problem(
                (key,),
                "contradiction",
                f"'{key}' contradicts the provider {model.provider}, "
                "which calls no API and costs nothing",
                hint="leave it out, or name the provider that is meant",
            )


def _check_stays_local(model: LanguageModel) -> Iterator[Diagnostic]:
    if model.provider != "openai_compatible":
        yield problem(
            ("stays_local",),
            "contradiction",
            f"'stays_local' is about an endpoint of your own, and the provider is {model.provider}",
            hint="leave it out",
        )
    elif model.endpoint is not None and not is_loopback(model.endpoint):
        yield problem(
            ("stays_local",),
            "contradiction",
            "'stays_local' contradicts 'endpoint', which is another machine's address"
            if not model.endpoint.startswith("env:")
            else "'stays_local' needs the address itself: another one could be in the environment",
            hint="name it by a loopback address, such as http://127.0.0.1:8000/v1, or leave "
            "'stays_local' out",
        )


def _check_prices(model: LanguageModel) -> Iterator[Diagnostic]:
    prices = model.prices
    if prices is None:
        if model.hosted:
            yield problem(
                ("prices",),
                "unknown-price",
                f"'prices' are required for the provider {model.provider}: an unknown price is not "
                "zero, and no budget could hold",
                hint="such as `prices: {input_per_million: $2.00, output_per_million: $8.00}`",
            )
        return
    yield from _check_charged(prices, ("prices",), model)
    for place, tier in enumerate(prices.tiers):
        yield from _check_charged(tier, ("prices", "tiers", place), model)
    bounds = [tier.above_input_tokens for tier in prices.tiers]
    for place, (shorter, longer) in enumerate(pairwise(bounds), 1):
        if shorter >= longer:
            path: KeyPath = ("prices", "tiers", place, "above_input_tokens")
            yield problem(
                path,
                "contradiction",
                f"'{dotted(path)}' ({TOKENS.show(longer)}) is not more than that of the tier "
                f"before it ({TOKENS.show(shorter)})",
                hint="give the tiers in the order of their length, each once",
            )


def _check_charged(
    prices: Prices | PriceTier, path: KeyPath, model: LanguageModel
) -> Iterator[Diagnostic]:
    """What is wrong with the prices at a place."""
    name = dotted(path)
    for key in ("input", "output"):
        if model.hosted and getattr(prices, f"{key}_per_million_usd") == 0:
            yield warning(
                (*path, f"{key}_per_million"),
                "zero-price",
                f"'{name}.{key}_per_million' is $0, so that no budget counts it; "
                f"{model.provider} does charge",
                hint="look it up in the provider's price list",
            )
    cached = prices.cached_input_per_million_usd
    if cached is not None and cached > prices.input_per_million_usd:
        yield warning(
            (*path, "cached_input_per_million"),
            "contradiction",
            f"'{name}.cached_input_per_million' is higher than '{name}.input_per_million'; "
            "providers charge less for cached input",
            hint="exchange the two",
        )


def _check_fine_tuning(model: LanguageModel) -> Iterator[Diagnostic]:
    tuning = model.fine_tuning
    if tuning is None:
        return
    if not model.can_be_tuned:
        yield problem(
            ("fine_tuning",),
            "contradiction",
            f"'fine_tuning' has no effect with the provider {model.provider}: "
            f"{WHY_NOT_TUNED[model.provider]}",
            hint="leave it out",
        )
    elif model.hosted and tuning.price_per_million_training_tokens_usd == 0:
        yield warning(
            ("fine_tuning", "price_per_million_training_tokens"),
            "zero-price",
            "'fine_tuning.price_per_million_training_tokens' is $0, so that no budget counts it; "
            f"{model.provider} does charge",
            hint="look it up in the provider's price list, or leave it out: then it is unknown",
        )


def _check_limits(model: LanguageModel) -> Iterator[Diagnostic]:
    output, context = model.max_output_tokens, model.context_tokens
    if output > context:
        yield problem(
            ("max_output_tokens",),
            "token-limits",
            f"'max_output_tokens' ({TOKENS.show(output)}) is more than 'context_tokens' "
            f"({TOKENS.show(context)}), which holds input and output together",
            hint=f"at most {TOKENS.show(context)}",
        )
    elif output == context and model.provider != "builtin":
        yield warning(
            ("max_output_tokens",),
            "token-limits",
            "'max_output_tokens' takes all of 'context_tokens', so that a full answer leaves no "
            "room for a question",
        )
    allowed = model.limits.tokens_per_minute
    if allowed is not None and allowed < (model.generation.max_output_tokens or output):
        yield warning(
            ("limits", "tokens_per_minute"),
            "token-limits",
            f"'limits.tokens_per_minute' ({TOKENS.show(allowed)}) is less than one answer may take",
            hint="lower generation.max_output_tokens, or have the limit raised",
        )
    first, longest = model.retries.first_wait_s, model.retries.longest_wait_s
    if first > longest:
        yield problem(
            ("retries", "first_wait"),
            "contradiction",
            f"'retries.first_wait' ({DURATION.show(first)}) is longer than 'retries.longest_wait' "
            f"({DURATION.show(longest)})",
            hint="exchange the two",
        )


def _check_local(model: LanguageModel, view: EnvironmentView) -> Iterator[Diagnostic]:
    yield from check_reference(ConfigReference(("model",), "base_models", model.model), view)
    longest = view.context_of_base(model.model)
    if longest is not None and model.context_tokens > longest:
        yield problem(
            ("context_tokens",),
            "token-limits",
            f"'context_tokens' ({TOKENS.show(model.context_tokens)}) is more than {model.model} "
            f"was made for ({longest}): beyond that its answers degrade",
            hint=f"at most {longest}",
        )


def _check_fallback(model: LanguageModel, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    cycle = fallback_cycle(name, view.model, view.acyclic)
    if cycle:
        if frozenset(cycle) not in view.cycles:
            view.cycles.add(frozenset(cycle))
            yield problem(
                ("fallback",),
                "fallback-cycle",
                f"the fallback is a cycle: {' -> '.join(cycle)}",
                hint="let one of them fall back to a model outside the cycle, or leave its "
                "'fallback' out",
            )
        return
    last = None if model.provider == "builtin" else view.model(model.fallback)
    if last is None or last.fallback is not None or last.provider == "builtin":
        return
    if view.integration is None:  # else its own check sees to the end of its order
        yield problem(
            ("fallback",),
            "fallback-end",
            f"the fallback ends in {model.fallback}, which can fail too; "
            "the last one must be of the provider builtin",
            hint=f"give {model.fallback} a 'fallback', such as basic_nlp",
        )
