"""Effective settings: what other packages ask for and act on.

`load_effective(environment, domain)` gives everything for one domain of work, with its layers laid
over each other: language model, then specialised model, then performance profile. It costs one
read of one row of state.db as long as nothing is deployed, and a process that runs sees a
deployment or a switch of another at its next call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from modelyard.configs.compare import (
    SettingChange,
    compare_flat,
    flat_values,
    shown_value,
    without_empty,
)
from modelyard.configs.fields import SettingValue
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import (
    AbTest,
    Budgets,
    FallbackStrategy,
    Integration,
    PerformanceMonitoring,
    RecordPrompts,
    Routing,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import LanguageModel, fallback_chain
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import AnswerCache, Batching, PerformanceProfile
from modelyard.configs.kinds.specialized_models import (
    InputRules,
    OutputRules,
    Quality,
    Retrieval,
    SpecializedModel,
)
from modelyard.core.errors import InvalidInput, KeyPath, ModelyardError, did_you_mean
from modelyard.core.layout import Project, find_project
from modelyard.deployments.revisions import (
    NotDeployed,
    Stamp,
    check_environment,
    find_live,
    not_deployed,
)
from modelyard.deployments.running import drafts_stamp, running_snapshot
from modelyard.deployments.snapshot import Snapshot
from modelyard.deployments.variants import with_variant
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


@dataclass(slots=True)
class _Kept:
    """What was live when this process last read it."""

    stamp: tuple[Stamp | None, Any]
    """The live revision and, in development, the drafts."""
    number: int
    snapshot: Snapshot
    effective: dict[str | None, Effective]


_kept: dict[tuple[Path, str], _Kept] = {}


def load_effective(
    environment: str,
    domain: str | None,
    *,
    project: Project | None = None,
    profile: str | None = None,
    model: EffectiveModel | None = None,
) -> Effective:
    """The effective settings of a domain; None is for requests without a domain.

    In development from the drafts and the profiles switched to, elsewhere from what is deployed.
    From any thread, before or after a fork.
    profile: a performance profile instead of the one that the domain uses.
    model: the only model that is to answer, by its own settings; those of the domain and the
        profile are laid over them.
    Raises NotDeployed when nothing is deployed, and InvalidInput when there is no such domain or
    profile, or the model is not for a domain that is local_only.
    """
    place = project or find_project()
    live = find_live(place, environment)
    is_draft = environment == DEFAULT_ENVIRONMENT
    if live is None and not is_draft:
        raise not_deployed(check_environment(place, environment))
    stamp = (live, drafts_stamp(place) if is_draft else None)
    kept = _kept.get((place.root, environment))
    if kept is None or kept.stamp != stamp:
        number, snapshot = running_snapshot(place, environment)
        kept = _kept[place.root, environment] = _Kept(stamp, number, snapshot, {})
    if profile is not None or model is not None:
        return build_effective(
            kept.snapshot, environment, kept.number, domain, profile=profile, model=model
        )
    found = kept.effective.get(domain)
    if found is None:
        found = build_effective(kept.snapshot, environment, kept.number, domain)
        kept.effective[domain] = found
    return found


def load_integration(environment: str, *, project: Project) -> Integration | None:
    """How the models work together in an environment; None where no config says it.

    Raises NotDeployed when nothing is deployed.
    """
    number, snapshot = running_snapshot(project, environment)
    if not number and environment != DEFAULT_ENVIRONMENT:
        raise not_deployed(check_environment(project, environment))
    return integration_of(snapshot)


def integration_of(snapshot: Snapshot) -> Integration | None:
    """The live integration config, if there is one."""
    return cast("Integration | None", snapshot.settings("integration"))


def live_domains(snapshot: Snapshot) -> dict[str, str]:
    """The specialised model of each live domain."""
    return domains_of(snapshot.names("specialized_models"), integration_of(snapshot))


def domains_of(specialised: Sequence[str], integration: Integration | None) -> dict[str, str]:
    """The specialised model of each domain: the one of its name, or that of an integration task."""
    tasks = integration.model_integration.primary_models.tasks if integration else {}
    return dict(sorted({**{name: name for name in specialised}, **tasks}.items()))


def profile_in_use(snapshot: Snapshot, domain: str) -> str:
    """The performance profile of a live domain: the one chosen, else its own.

    Raises ModelyardError when the domain names a specialised model that is not live.
    """
    specialised = _specialised(snapshot, live_domains(snapshot)[domain])
    return snapshot.profiles.get(domain, specialised.profile)


def _specialised(snapshot: Snapshot, name: str) -> SpecializedModel:
    found: SpecializedModel | None = snapshot.settings(f"specialized_models/{name}")
    if found is None:
        raise ModelyardError(
            f"the specialised model {name} is not live",
            hint="correct primary_models.tasks of the integration, or add the config",
        )
    return found


def build_effective(
    snapshot: Snapshot,
    environment: str,
    revision: int,
    domain: str | None,
    *,
    profile: str | None = None,
    model: EffectiveModel | None = None,
) -> Effective:
    """Apply the layers of a domain in order; see `load_effective` for `profile` and `model`.

    Of an A/B test, with the settings of both variants; not where a profile or a model is named.
    Raises InvalidInput when the domain is not live, ModelyardError when nothing can answer.
    """
    built = _build(snapshot, environment, revision, domain, profile=profile, model=model)
    integration = integration_of(snapshot)
    test = integration.model_integration.ab_test if integration else None
    if test is None or profile or model or not _is_in(test, built.specialized_model):
        return built
    a, b = (
        replace(
            _build(
                with_variant(snapshot, test, variant, live_domains(snapshot)),
                environment,
                revision,
                domain,
            ),
            variant=f"{test.name}/{side}",
        )
        for side, variant in (("a", test.a), ("b", test.b))
    )
    running = EffectiveAbTest(name=test.name, share_of_b=test.share_of_b, a=a, b=b)
    return replace(built, ab_test=running)


def _is_in(test: AbTest, specialised: str | None) -> bool:
    """Whether requests of a specialised model, or without one, are in a test."""
    return specialised in test.domains if test.domains else specialised is None


def _build(
    snapshot: Snapshot,
    environment: str,
    revision: int,
    domain: str | None,
    *,
    profile: str | None = None,
    model: EffectiveModel | None = None,
) -> Effective:
    """The settings of a domain, whatever is tested."""
    name = specialised = None
    if profile is not None:
        _require_profile(snapshot, environment, profile)
    if domain is not None:
        name = _specialised_name(snapshot, environment, domain)
        specialised = _specialised(snapshot, name)
        profile = profile or profile_in_use(snapshot, domain)
    chosen = PerformanceProfile(description="as the models have it")
    if profile is not None:
        chosen = snapshot.settings(f"performance_profiles/{profile}")
        if chosen is None:
            raise ModelyardError(f"the performance profile {profile} is not live")
    layers = _Layers(snapshot, specialised, chosen)
    integration = integration_of(snapshot)
    joint = integration.model_integration if integration else None
    strategy = joint.fallback_strategy if joint else FallbackStrategy()
    routing = joint.routing if joint else Routing()
    local_only = name is not None and name in routing.local_only
    own = specialised.retrieval if specialised else None
    if specialised is None and joint and joint.primary_models.embeddings:
        own = Retrieval(domains=(joint.primary_models.embeddings,))
    if model is not None:
        models = [layers.apply(model.name, model.settings)]
    else:
        first = layers.first_model(joint.primary_models.language if joint else None, environment)
        models = layers.chain(first, strategy)
    kept = [each for each in models if not (local_only and each.settings.needs_network)]
    if not kept and model is not None:
        raise InvalidInput(
            f"{model.name} would leave this machine, and {domain} is local_only in {environment}",
            hint="name a model of provider local, or one that is declared `stays_local`",
        )
    if not kept:
        raise ModelyardError(
            f"no model can answer for {domain} in {environment}: it is local_only, and all its "
            "models need a network",
            hint="give it a local model, or end its fallback with a model of provider builtin",
        )
    return Effective(
        environment=environment,
        revision=revision,
        domain=domain,
        specialized_model=name,
        profile=profile,
        model=kept[0],
        fallback=tuple(kept[1:]),
        kept_off=tuple(each.name for each in models if each not in kept),
        instructions=specialised.instructions if specialised else "",
        input=specialised.input if specialised else InputRules(),
        output=specialised.output if specialised else OutputRules(),
        retrieval=_retrieval(own, chosen),
        quality=specialised.quality if specialised else Quality(),
        timeout_s=chosen.timeout_s,
        samples=chosen.samples,
        max_cost_per_request_usd=chosen.max_cost_per_request_usd,
        cache=chosen.cache,
        batching=chosen.batching,
        strategy=routing.strategy,
        local_only=local_only,
        rules=() if model is not None else layers.rules(routing, name, local_only),
        fallback_strategy=strategy,
        rate_limits=joint.rate_limits if joint else ServiceLimits(),
        budgets=joint.budgets if joint else Budgets(),
        record_prompts=joint.record_prompts if joint else RecordPrompts(),
        local_cost_per_hour_usd=joint.local_cost_per_hour_usd if joint else None,
        monitoring=joint.performance_monitoring if joint else PerformanceMonitoring(),
    )


def _require_profile(snapshot: Snapshot, environment: str, profile: str) -> None:
    names = snapshot.names("performance_profiles")
    if profile not in names:
        raise InvalidInput(
            f"there is no performance profile {profile!r} in {environment}"
            f"{did_you_mean(profile, names)}",
            hint=f"there are {', '.join(names)}" if names else "there is none",
        )


def _specialised_name(snapshot: Snapshot, environment: str, domain: str) -> str:
    domains = live_domains(snapshot)
    if domain in domains:
        return domains[domain]
    there_are = f"there are {', '.join(domains)}" if domains else "there is none"
    how = f"`models deploy-config specialized_models/NAME --env {environment}` adds one"
    if environment == DEFAULT_ENVIRONMENT:
        how = "a domain is a config in configs/specialized_models/"
    raise InvalidInput(
        f"there is no domain {domain!r} in {environment}{did_you_mean(domain, list(domains))}",
        hint=f"{there_are}; {how}",
    )


@dataclass(frozen=True, slots=True)
class _Layers:
    """The layers applied to every language model of a domain."""

    snapshot: Snapshot
    specialised: SpecializedModel | None
    profile: PerformanceProfile

    def first_model(self, primary: str | None, environment: str) -> str:
        """The model that answers first: the profile's, else the domain's, else the primary one."""
        own = self.specialised.model if self.specialised else primary
        chosen = self.profile.model or own
        if chosen is None:
            raise NotDeployed(
                f"no model is named for requests without a domain in {environment}",
                hint=f"`models deploy-config integration.yaml --env {environment}` names one",
            )
        return chosen

    def chain(self, first: str, strategy: FallbackStrategy) -> list[EffectiveModel]:
        """The models that are asked, in order."""
        own_order = self.specialised.fallback if self.specialised else None
        order = strategy.order if own_order is None else own_order
        names = [name for name, _ in fallback_chain(first, self.find, order)]
        return [self.model(name) for name in (names if strategy.enabled else names[:1])]

    def find(self, name: str) -> LanguageModel | None:
        """The language model of a name, as its config has it."""
        found: LanguageModel | None = self.snapshot.settings(f"language_models/{name}")
        return found

    def model(self, name: str) -> EffectiveModel:
        """A language model with the domain and the profile applied."""
        found = self.find(name)
        if found is None:
            raise ModelyardError(f"the language model {name} is not live")
        return self.apply(name, found)

    def apply(self, name: str, found: LanguageModel) -> EffectiveModel:
        """The settings of a language model with the domain's and the profile's laid over them."""
        above = [self.specialised.generation] if self.specialised else []
        drawn = _with_layers(found.generation, *above, self.profile.generation)
        wanted = drawn.max_output_tokens or found.max_output_tokens
        drawn = replace(drawn, max_output_tokens=min(wanted, found.max_output_tokens))
        attempts = self.profile.attempts
        return EffectiveModel(
            name=name,
            settings=replace(
                found,
                generation=drawn,
                retries=found.retries
                if attempts is None
                else replace(found.retries, attempts=attempts),
                adapter=self._adapter(found),
            ),
        )

    def _adapter(self, model: LanguageModel) -> str | None:
        """The domain's adapter on the base that it was trained for, else the model's own."""
        own = self.specialised
        if own is not None and uses_own_adapter(self.snapshot, own, model):
            return own.adapter
        return model.adapter

    def rules(
        self, routing: Routing, specialised: str | None, local_only: bool
    ) -> tuple[EffectiveRule, ...]:
        """The rules that apply; in a local_only domain without those that need a network."""
        fitting = [
            EffectiveRule(longer_than_tokens=rule.longer_than_tokens, model=self.model(rule.model))
            for rule in routing.rules
            if not rule.domains or specialised in rule.domains
        ]
        return tuple(
            rule for rule in fitting if not (local_only and rule.model.settings.needs_network)
        )


def uses_own_adapter(
    snapshot: Snapshot, specialised: SpecializedModel, model: LanguageModel
) -> bool:
    """Whether a language model of a domain gets the domain's adapter: on the domain's own base."""
    if not specialised.adapter or model.provider != "local":
        return False
    own = snapshot.settings(f"language_models/{specialised.model}")
    return own is not None and own.model == model.model


def _with_layers(below: Generation, *above: Generation) -> Generation:
    """The settings with each later layer applied where it sets a value."""
    for layer in above:
        set_values = {field.name: getattr(layer, field.name) for field in fields(layer)}
        below = replace(
            below, **{name: value for name, value in set_values.items() if value is not None}
        )
    return below


def _retrieval(own: Retrieval | None, profile: PerformanceProfile) -> EffectiveRetrieval | None:
    if own is None:
        return None
    above = profile.retrieval
    return EffectiveRetrieval(
        domains=own.domains,
        top=own.top if above.top is None else above.top,
        max_tokens=own.max_tokens if above.max_tokens is None else above.max_tokens,
        rerank=bool(above.rerank),
        least_similarity=own.least_similarity,
        required=own.required,
    )


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
