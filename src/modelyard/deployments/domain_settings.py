"""Why the settings of a domain are what they are, after all layers.

The layers are those of `layers.py`: the language model, the specialised model and the profile
over it, and for what all domains share the integration config.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelyard.configs.compare import shown_value
from modelyard.configs.explain import DEFAULT, DERIVED, Explanation, Layer, is_below
from modelyard.configs.fields import SettingValue, say_type
from modelyard.configs.kinds.language_models import LanguageModel, fallback_chain
from modelyard.core.errors import InvalidInput, did_you_mean, dotted
from modelyard.deployments.effective_settings import Effective, effective_values
from modelyard.deployments.layers import build_effective, uses_own_adapter
from modelyard.deployments.origins import RunningConfigs, with_layers
from modelyard.deployments.snapshot import split_label
from modelyard.secrets.values import mask_value
from modelyard.settings.fields import field_docs

SWITCH = "profile switch"
"""The layer of a profile that `models switch-config` chose."""

_Source = Literal["model", "specialised", "profile", "integration"]
_IN_INTEGRATION = {
    "strategy": "routing.strategy",
    "monitoring": "performance_monitoring",
}
_SHARED_BY_DOMAINS = (
    *("fallback_strategy", "rate_limits", "budgets", "local_cost_per_hour"),
    *_IN_INTEGRATION,
)
_STRATEGY = "model_integration.fallback_strategy"
_LOCAL_ONLY = "model_integration.routing.local_only"
_RULES = "model_integration.routing.rules"
_TASKS = "model_integration.primary_models.tasks"
_LONGEST_ANSWER = "model.generation.max_output_tokens"
_OF_THE_PROFILE = ("timeout", "samples", "max_cost_per_request", "cache", "batching")
_PROFILE_KEYS = {"retries.attempts": "attempts"}
"""What a profile calls the settings of a language model that it overrides."""


def explain_domain(running: RunningConfigs, domain: str, key: str = "") -> tuple[Explanation, ...]:
    """The effective settings of a domain at a dotted key, or below it; all for an empty key.

    The settings of its language model come below `model`, which may be left out: `timeout`.
    Raises InvalidInput when there is no such domain or key, ModelyardError when nothing can answer.
    """
    found = _Domain.open(running, domain).explain()
    exact = tuple(setting for setting in found if is_below(setting.key, key))
    if exact:
        return exact
    short = tuple(
        replace(setting, key=setting.key.removeprefix("model."), path=setting.path[1:])
        for setting in found
        if setting.key.startswith("model.")
    )
    below = tuple(setting for setting in short if is_below(setting.key, key))
    if below:
        return below
    known = [setting.key for setting in (*found, *short)]
    raise InvalidInput(
        f"the domain {domain} has no setting '{key}'{did_you_mean(key, known)}",
        hint=f"`models config show domain:{domain} --env {running.environment}` shows them all",
    )


def explain_specialised(
    running: RunningConfigs, label: str, key: str = ""
) -> tuple[Explanation, ...]:
    """The settings of a specialised model as its domain uses them.

    A key that only its language model, its profile or the integration has is one of its domain's.
    """
    name = split_label(label)[1]
    own = running.explain(label)
    existing = tuple(setting for setting in own if is_below(setting.key, key))
    if not existing:
        if key.partition(".")[0] in ("name", "environments"):
            return running.explain(label, key)  # which says why that is no setting
        return explain_domain(running, name, key)
    effective = {setting.key: setting for setting in explain_domain(running, name)}
    found = []
    for setting in existing:
        used = effective.get(_effective_key(setting.key), setting)
        found.append(replace(used, key=setting.key, path=setting.path, attribute=setting.attribute))
    return tuple(found)


def _effective_key(own: str) -> str:
    """What the effective settings call a key of a specialised model."""
    if own == "model":
        return "model.name"
    return f"model.{own}" if own == "adapter" or is_below(own, "generation") else own


@dataclass(frozen=True, slots=True)
class _Domain:
    """A domain, and the configs that its settings come from."""

    running: RunningConfigs
    effective: Effective
    labels: dict[_Source, str]

    @classmethod
    def open(cls, running: RunningConfigs, domain: str) -> _Domain:
        running.require_deployed()
        effective = build_effective(running.snapshot, running.environment, running.number, domain)
        labels: dict[_Source, str] = {
            "model": f"language_models/{effective.model.name}",
            "specialised": f"specialized_models/{effective.specialized_model}",
            "profile": f"performance_profiles/{effective.profile}",
        }
        if "integration" in running.snapshot.configs:
            labels["integration"] = "integration"
        return cls(running, effective, labels)

    def explain(self) -> tuple[Explanation, ...]:
        return tuple(self._explain(setting) for setting in effective_values(self.effective))

    def _explain(self, used: SettingValue) -> Explanation:
        key, value = dotted(used.path), mask_value(dotted(used.path), used.parsed)
        sources = self._derived_from(key)
        if sources is not None:
            described, layers = _describe(used), tuple(sources)
            top = self._result(used, layers)
        else:
            found = list(self._found(key))
            described = found[0][1] if found else _describe(used)
            layers, top = self._layers(key, found)
            if top is None and value is not None:
                shown = mask_value(key, shown_value(used.field.hint, used.parsed))
                top = Layer(name=DEFAULT, value=shown, where=None)
        setting = replace(
            described, path=used.path, key=key, attribute=used.field.name, parsed=value
        )
        return with_layers(setting, layers, top)

    def _layers(
        self, key: str, found: Sequence[tuple[_Source, Explanation]]
    ) -> tuple[tuple[Layer, ...], Layer | None]:
        """The layers of a setting, and the one that decides: the last, as `build_effective` does.

        A default decides only where no layer below it says anything.
        """
        said: list[tuple[Layer, Any]] = []
        for source, setting in found:
            layer = self._layer(source, setting)
            if layer is not None and (layer.name != DEFAULT or not said):
                said.append((layer, setting.parsed))
        layers = [layer for layer, _ in said]
        if key == "profile" and (switch := self._switch()):
            layers.append(switch)
        top = layers[-1] if layers else None
        if key == _LONGEST_ANSWER and said and said[0][1] < said[-1][1]:
            top = layers[0]  # no answer is longer than the model can give
        return tuple(layers), top

    def _result(self, used: SettingValue, sources: tuple[Layer, ...]) -> Layer | None:
        """What is worked out of other settings; as new as the newest of them."""
        if used.parsed is None:
            return None
        shown = mask_value(dotted(used.path), shown_value(used.field.hint, used.parsed))
        newest = max((layer.revision or 0 for layer in sources), default=0)
        return Layer(name=DERIVED, value=shown, where=None, revision=newest or None)

    def _derived_from(self, key: str) -> Iterator[Layer] | None:
        """What a setting is worked out of; None for one that a single layer decides."""
        if key == "fallback":
            return self._sources_of_chain()
        if key == "model.name":
            first = self._settings("profile").model or self._settings("specialised").model
            chosen = self.effective.model.name
            return None if first == chosen else self._sources_of_chain(until=chosen)
        if key == "local_only":
            return self._said("integration", _LOCAL_ONLY)
        if key == "rules":
            return self._sources_of_rules()
        if key == "specialized_model":
            return self._said("integration", _TASKS)
        return None

    def _sources_of_chain(self, until: str | None = None) -> Iterator[Layer]:
        """The settings that decide which models are asked, in the order in which they do.

        `until` is the model up to which the chain is followed.
        """
        if not self.effective.fallback_strategy.enabled:
            yield from self._said("integration", f"{_STRATEGY}.enabled")
            return
        by_profile = self._settings("profile").model is not None
        yield from self._said("profile" if by_profile else "specialised", "model")
        yield from self._sources_of_links(until)
        if self.effective.local_only:
            yield from self._said("integration", _LOCAL_ONLY)

    def _sources_of_links(self, until: str | None) -> Iterator[Layer]:
        """The `fallback` of each model, and the order where a model has none that is left."""
        specialised = self._settings("specialised")
        own_order = specialised.fallback
        order = self.effective.fallback_strategy.order if own_order is None else own_order
        first = self._settings("profile").model or specialised.model
        asked: set[str] = set()
        by_order = False
        for name, model in fallback_chain(first, self._model, order):
            asked.add(name)
            if name == until or model is None or model.provider == "builtin":
                break
            if model.fallback is not None:
                yield from self._said("model", "fallback", f"language_models/{name}")
            by_order |= model.fallback is None or model.fallback in asked
        if by_order and own_order is not None:
            yield from self._said("specialised", "fallback")
        elif by_order:
            yield from self._said("integration", f"{_STRATEGY}.order")

    def _sources_of_rules(self) -> Iterator[Layer]:
        """For which domains each rule is, and all of those that are for this one."""
        name = self.effective.specialized_model
        integration = self._settings("integration")
        rules = integration.model_integration.routing.rules if integration else ()
        if not rules:
            yield from self._said("integration", _RULES)
        for place, rule in enumerate(rules):
            applies = not rule.domains or name in rule.domains
            yield from self._said(
                "integration", f"{_RULES}[{place}]" + ("" if applies else ".domains")
            )
        if self.effective.local_only:
            yield from self._said("integration", _LOCAL_ONLY)

    def _settings(self, source: _Source) -> Any:
        """The settings object of a config of this domain; None when it has none."""
        return self.running.snapshot.settings(self.labels.get(source, source))

    def _model(self, name: str) -> LanguageModel | None:
        found: LanguageModel | None = self.running.snapshot.settings(f"language_models/{name}")
        return found

    def _said(self, source: _Source, group: str, label: str | None = None) -> Iterator[Layer]:
        """What a config says at a dotted key and below it, each with its key there.

        `label` is the config when it is a language model other than the one that answers first.
        """
        for setting in self._settings_of(source, label):
            if is_below(setting.key, group):
                layer = self._layer(source, setting)
                if layer is not None:
                    name = f"language model {split_label(label)[1]}" if label else layer.name
                    yield replace(layer, name=name, key=setting.key)

    def _settings_of(self, source: _Source, label: str | None = None) -> tuple[Explanation, ...]:
        label = label or self.labels.get(source)
        return self.running.explain(label) if label else ()

    def _found(self, key: str) -> Iterator[tuple[_Source, Explanation]]:
        """What each config says of an effective setting, the lowest layer first."""
        for source, there in _sources(key):
            if there == "adapter" and source == "specialised" and not self._has_own_adapter:
                continue
            said = self._settings_of(source)
            yield from ((source, setting) for setting in said if setting.key == there)

    @property
    def _has_own_adapter(self) -> bool:
        """Whether the adapter of the domain fits the model that answers."""
        own, model = self._settings("specialised"), self.effective.model
        return uses_own_adapter(self.running.snapshot, own, model.settings)

    def _layer(self, source: _Source, setting: Explanation) -> Layer | None:
        """The layer of a config that decides a setting there; None when it leaves it out."""
        if setting.value is None or setting.layer is None:
            return None
        name = setting.layer
        if name != DEFAULT and source != "specialised":
            name = {
                "model": f"language model {self.effective.model.name}",
                "profile": f"profile {self.effective.profile}",
                "integration": "integration config",
            }[source]
        revision = setting.revision
        if source == "profile" and name != DEFAULT and (switch := self._switch()):
            revision = max(filter(None, (revision, switch.revision)), default=None)
        return Layer(name=name, value=setting.value, where=setting.where, revision=revision)

    def _switch(self) -> Layer | None:
        """The switch that chose the profile; None when the domain uses its own."""
        domain, profile = self.effective.domain or "", self.effective.profile
        if self.running.snapshot.profiles.get(domain) != profile:
            return None
        revision = self.running.since(lambda past: past.profiles.get(domain) == profile)
        return Layer(name=SWITCH, value=profile, where=None, revision=revision)


def _describe(used: SettingValue) -> Explanation:
    """A setting that no config has under a key of its own."""
    return Explanation(
        path=used.path,
        key=dotted(used.path),
        attribute=used.field.name,
        value=None,
        parsed=None,
        layer=None,
        where=None,
        layers=(),
        may_be=say_type(used.field.hint),
        meaning=field_docs(used.owner)[used.field.name],
        unread=used.unread.why if used.unread else None,
    )


def _sources(key: str) -> Iterator[tuple[_Source, str]]:
    """The keys of configs that an effective setting comes from, the lowest layer first."""
    first, _, rest = key.partition(".")
    if key == "model.name":
        yield "specialised", "model"
        yield "profile", "model"
    elif first == "model":
        if key == _LONGEST_ANSWER:  # no answer is longer than the model can give
            yield "model", "max_output_tokens"
        yield "model", rest
        if rest == "adapter" or _first(rest) == "generation":
            yield "specialised", rest
        if _first(rest) == "generation":
            yield "profile", rest
        elif rest in _PROFILE_KEYS:
            yield "profile", _PROFILE_KEYS[rest]
    elif first in _SHARED_BY_DOMAINS:
        there = _IN_INTEGRATION.get(first, first)
        yield "integration", f"model_integration.{there}{f'.{rest}' if rest else ''}"
    elif first in _OF_THE_PROFILE:
        yield "profile", key
    else:
        yield "specialised", key
        if first == "retrieval":
            yield "profile", key


def _first(key: str) -> str:
    """The first step of a dotted key."""
    return key.partition(".")[0]
