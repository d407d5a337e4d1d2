"""The layers of a domain laid over each other: how its effective settings are built.

Above the language model comes the specialised model, and above that the performance profile.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import (
    AbTest,
    Budgets,
    FallbackStrategy,
    PerformanceMonitoring,
    RecordPrompts,
    Routing,
    ServiceLimits,
)
from modelyard.configs.kinds.language_models import LanguageModel, fallback_chain
from modelyard.configs.kinds.parts import Generation
from modelyard.configs.kinds.performance_profiles import PerformanceProfile
from modelyard.configs.kinds.specialized_models import (
    InputRules,
    OutputRules,
    Quality,
    Retrieval,
    SpecializedModel,
)
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.deployments.effective_settings import (
    Effective,
    EffectiveAbTest,
    EffectiveModel,
    EffectiveRetrieval,
    EffectiveRule,
)
from modelyard.deployments.live_domains import (
    integration_of,
    live_domains,
    live_specialised,
    profile_in_use,
)
from modelyard.deployments.revisions import NotDeployed
from modelyard.deployments.snapshot import Snapshot
from modelyard.deployments.variants import with_variant


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
        specialised = live_specialised(snapshot, name)
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
        drawn = lay_over(found.generation, *above, self.profile.generation)
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


def lay_over(below: Generation, *above: Generation) -> Generation:
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
