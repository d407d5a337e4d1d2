"""Why the settings of a domain are what they are, after all layers.

The layers are those of `effective.py`: the language model, the specialised model and the profile
over it, and for what all domains share the integration config.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelyard.configs.compare import shown_value
from modelyard.configs.explain import DEFAULT, Explanation, Layer, is_below
from modelyard.configs.fields import SettingValue, say_type
from modelyard.core.errors import InvalidInput, did_you_mean, dotted
from modelyard.deployments.effective import Effective, build_effective, effective_values
from modelyard.deployments.origins import RunningConfigs, with_layers
from modelyard.deployments.snapshot import split_label
from modelyard.secrets.values import mask_value
from modelyard.settings.fields import field_docs

DERIVED = "derived value"
"""The layer of a value that none of the layers has as it is, such as the whole fallback order."""
SWITCH = "profile switch"
"""The layer of a profile that `models switch-config` chose."""

_Source = Literal["model", "specialised", "profile", "integration"]
_IN_INTEGRATION = {
    "strategy": "routing.strategy",
    "local_only": "routing.local_only",
    "rules": "routing.rules",
    "monitoring": "performance_monitoring",
}
_SHARED_BY_DOMAINS = ("fallback_strategy", "rate_limits", "budgets", *_IN_INTEGRATION)
_OF_THE_PROFILE = ("samples", "max_cost_per_request", "cache", "batching")
_DERIVED_KEYS = ("specialized_model", "fallback", "local_only", "rules")
"""Settings of a domain that are worked out, and mean something else in the configs."""
_PROFILE_KEYS = {"timeout": "timeout", "retries.attempts": "attempts"}
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
        found = list(self._found(key))
        layers: list[tuple[Layer, Any]] = []
        for source, setting in found:
            layer = self._layer(source, setting)
            if layer is not None and (layer.name != DEFAULT or not layers):
                layers.append((layer, setting.parsed))
        if key == "profile" and (switch := self._switch()):
            layers.append((switch, switch.value))
        top = next((layer for layer, parsed in reversed(layers) if parsed == value), None)
        if top is None and value is not None:
            shown = mask_value(key, shown_value(used.field.hint, used.parsed))
            is_default = not layers and key not in _DERIVED_KEYS
            top = Layer(name=DEFAULT if is_default else DERIVED, value=shown, where=None)
        described = found[0][1] if found else _describe(used)
        if key in _DERIVED_KEYS:
            described = replace(_describe(used), unread=described.unread)
        setting = replace(
            described, path=used.path, key=key, attribute=used.field.name, parsed=value
        )
        return with_layers(setting, tuple(layer for layer, _ in layers), top)

    def _found(self, key: str) -> Iterator[tuple[_Source, Explanation]]:
        """What each config says of an effective setting, the lowest layer first."""
        for source, there in _sources(key):
            said = self.running.explain(self.labels[source]) if source in self.labels else ()
            yield from ((source, setting) for setting in said if setting.key == there)

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
            revision = max(filter(None, (revision, switch.revision)))
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
        unread=used.unread.by if used.unread else None,
    )


def _sources(key: str) -> Iterator[tuple[_Source, str]]:
    """The keys of configs that an effective setting comes from, the lowest layer first."""
    first, _, rest = key.partition(".")
    if key == "model.name":
        yield "specialised", "model"
        yield "profile", "model"
    elif first == "model":
        if rest == "generation.max_output_tokens":  # no answer is longer than the model can give
            yield "model", "max_output_tokens"
        yield "model", rest
        if rest == "adapter" or _first(rest) == "generation":
            yield "specialised", rest
        if _first(rest) == "generation":
            yield "profile", rest
        elif rest in _PROFILE_KEYS:
            yield "profile", _PROFILE_KEYS[rest]
    elif key == "fallback":
        yield "integration", "model_integration.fallback_strategy.order"
        yield "model", "fallback"
        yield "specialised", "fallback"
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
