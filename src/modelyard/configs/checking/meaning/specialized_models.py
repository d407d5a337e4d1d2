"""Contradictions in the config of a domain of work."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.json_schema import check_json_schema
from modelyard.configs.checking.meaning import check_repeated, problem, warning
from modelyard.configs.checking.meaning.calls import check_generation, check_order, check_stops
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.language_models import LanguageModel, fallback_chain
from modelyard.configs.kinds.performance_profiles import PerformanceProfile
from modelyard.configs.kinds.specialized_models import SpecializedModel
from modelyard.core.errors import Diagnostic
from modelyard.settings.units import MONEY, TOKENS


def check(domain: SpecializedModel, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one specialised model."""
    if not domain.instructions.strip():
        yield problem(
            ("instructions",),
            "empty",
            "'instructions' are empty, so that this domain is no different from any other",
            hint="say what the model is to do, and what not",
        )
    yield from check_stops(domain.generation, ("generation",))
    yield from _check_output(domain)
    yield from _check_quality(domain)
    yield from _check_repeated_sources(domain)
    if domain.fallback is not None:
        yield from check_order(domain.fallback, ("fallback",), view)
        yield from _check_own_fallback(domain, view)
    profile: PerformanceProfile | None = view.settings("performance_profiles", domain.profile)
    own = view.model(domain.model)
    if own is not None:
        yield from check_generation(domain.generation, ("generation",), own, domain.model)
        yield from _check_adapter(domain, own)
    used = (profile and profile.model) or domain.model
    model = view.model(used)
    if model is not None:
        yield from _check_room(domain, profile, model, used)
        if profile is not None:
            yield from _check_profile(domain, profile, model, used)


def _check_output(domain: SpecializedModel) -> Iterator[Diagnostic]:
    schema = domain.output.json_schema
    if schema is None:
        return
    path = ("output", "json_schema")
    if domain.output.format != "json":
        yield problem(
            path,
            "contradiction",
            f"'output.json_schema' has no effect while 'output.format' is {domain.output.format}",
            hint="set `format: json`, or leave the schema out",
        )
    yield from check_json_schema(schema, path)


def _check_quality(domain: SpecializedModel) -> Iterator[Diagnostic]:
    if domain.quality.accuracy is not None and domain.quality.test_suite is None:
        yield warning(
            ("quality", "accuracy"),
            "not-measured",
            "'quality.accuracy' is measured by nothing",
            hint="name the suite that does: `test_suite: NAME`",
        )


def _check_repeated_sources(domain: SpecializedModel) -> Iterator[Diagnostic]:
    named = domain.retrieval.domains if domain.retrieval else ()
    if domain.retrieval is not None and not named:
        yield problem(
            ("retrieval", "domains"),
            "empty",
            "'retrieval.domains' is empty, so that nothing is looked up",
            hint="name a search domain, or leave 'retrieval' out",
        )
    yield from check_repeated(named, ("retrieval", "domains"))


def _check_own_fallback(domain: SpecializedModel, view: EnvironmentView) -> Iterator[Diagnostic]:
    order = domain.fallback or ()
    *_, (last, settings) = fallback_chain(domain.model, view.model, order)
    if settings is not None and settings.provider != "builtin":
        yield problem(
            ("fallback",),
            "fallback-end",
            f"the fallback of this domain ends in {last}, which can fail too; the last one must "
            "be of the provider builtin",
            hint="add it at the end, such as basic_nlp; or leave 'fallback' out, and the "
            "integration's order is used",
        )


def _check_adapter(domain: SpecializedModel, model: LanguageModel) -> Iterator[Diagnostic]:
    if domain.adapter is not None and model.provider != "local":
        yield problem(
            ("adapter",),
            "contradiction",
            f"'adapter' has no effect on {domain.model}, whose provider is {model.provider}: "
            "only a local model takes one",
            hint="leave it out, or name a local model",
        )


def _longest_answer(
    domain: SpecializedModel, profile: PerformanceProfile | None, model: LanguageModel
) -> int:
    """Tokens that an answer may take: the profile's word, the domain's, the model's."""
    above = (profile.generation,) if profile is not None else ()
    configured = (
        layer.max_output_tokens for layer in (*above, domain.generation, model.generation)
    )
    wanted = next((tokens for tokens in configured if tokens is not None), model.max_output_tokens)
    return min(wanted, model.max_output_tokens)


def _check_room(
    domain: SpecializedModel, profile: PerformanceProfile | None, model: LanguageModel, used: str
) -> Iterator[Diagnostic]:
    """Whether question, chunks and answer fit into the model together."""
    answer = _longest_answer(domain, profile, model)
    chunks = 0
    if domain.retrieval is not None:
        wanted = profile.retrieval.max_tokens if profile is not None else None
        chunks = domain.retrieval.max_tokens if wanted is None else wanted
    question = domain.input.max_tokens or 0
    if question + chunks + answer <= model.context_tokens:
        return
    parts = [(question, "of input"), (chunks, "of chunks"), (answer, "of answer")]
    parts_shown = " and ".join(f"{TOKENS.show(size)} {what}" for size, what in parts if size)
    path = ("input", "max_tokens") if question >= chunks else ("retrieval", "max_tokens")
    yield problem(
        path if max(question, chunks) else ("generation", "max_output_tokens"),
        "token-limits",
        f"{parts_shown} do not fit into the {TOKENS.show(model.context_tokens)} tokens of {used}",
        hint="lower one of them, or take a model with a longer context",
    )


def _check_profile(
    domain: SpecializedModel, profile: PerformanceProfile, model: LanguageModel, used: str
) -> Iterator[Diagnostic]:
    """Whether the profile can hold on this model, and in this domain."""
    if profile.model is None:
        for finding in check_generation(profile.generation, ("generation",), model, used):
            yield warning(
                ("profile",),
                str(finding.code),
                f"the profile {domain.profile} does not suit {used}: {finding.message}",
                hint="take another profile or model",
            )
    own = domain.generation.temperature
    warmth = model.generation.temperature if own is None else own
    if profile.samples > 1 and profile.generation.temperature is None and warmth == 0:
        yield warning(
            ("profile",),
            "contradiction",
            f"the profile {domain.profile} draws {profile.samples} answers at a temperature of "
            "0: they are all equal, and each is paid for",
            hint="raise the temperature, or take a profile with one sample",
        )
    yield from _check_cost(domain, profile, model, used)


def _check_cost(
    domain: SpecializedModel, profile: PerformanceProfile, model: LanguageModel, used: str
) -> Iterator[Diagnostic]:
    most, prices = profile.max_cost_per_request_usd, model.prices
    if most is None or prices is None:
        return
    answer = _longest_answer(domain, profile, model)
    least = profile.samples * answer * prices.output_per_million_usd / 1e6
    if least > most:
        draws = f"{profile.samples} answers" if profile.samples > 1 else "an answer"
        yield problem(
            ("profile",),
            "cost-limit",
            f"the profile {domain.profile} refuses requests that could cost more than "
            f"{MONEY.show(most)}, and {draws} of {TOKENS.show(answer)} tokens by {used} could cost "
            f"{MONEY.show(least)}: every request would be refused",
            hint="raise 'max_cost_per_request', or allow shorter answers",
        )
