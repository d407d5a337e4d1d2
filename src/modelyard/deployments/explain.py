"""Why a setting has its effective value in an environment, the switched profile included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelyard.configs.compare import mask_value
from modelyard.configs.explain import Explanation, Layer, explain
from modelyard.configs.fields import walk_settings
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT, KINDS
from modelyard.configs.reading.document import Document
from modelyard.core.errors import InvalidInput, dotted
from modelyard.core.layout import Project
from modelyard.deployments.effective import profile_in_use
from modelyard.deployments.revisions import check_environment
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import Snapshot, split_label
from modelyard.settings.yaml_files import YamlSource


def explain_running(
    project: Project, document: Document, key: str, environment: str
) -> tuple[Explanation, ...]:
    """The setting at a dotted key as commands in an environment use it, or those of a group.

    In development the draft decides, elsewhere what is deployed. The active performance profile
    overrides a specialised model; the language model gives what neither of them sets.
    Raises NotDeployed and InvalidInput when the config is not deployed, and what `explain` raises.
    """
    check_environment(project, environment)
    if not document.kind.deployable:
        return explain(document, key, None)
    number, snapshot = running_snapshot(project, environment)
    if environment == DEFAULT_ENVIRONMENT:
        found = explain(document, key, environment)
    else:
        found = _explain_deployed(document, key, environment, number, snapshot)
    if document.kind.name != "specialized_models":
        return found
    profile = profile_in_use(snapshot, document.name)
    profile_label = f"performance_profiles/{profile}"
    chosen = snapshot.settings(profile_label)
    model = (chosen and chosen.model) or snapshot.settings(document.label).model
    switched = f", revision {number}" if document.name in snapshot.profiles else ""
    others = (
        (f"language_models/{model}", f"language model {model}", ""),
        (profile_label, f"profile {profile}", switched),
    )
    return tuple(_with_others(setting, snapshot, others) for setting in found)


def _explain_deployed(
    document: Document, key: str, environment: str, number: int, snapshot: Snapshot
) -> tuple[Explanation, ...]:
    if document.label not in snapshot.configs:
        raise InvalidInput(
            f"{document.label} is not deployed to {environment}",
            hint=f"`models deploy-config {document.label} --env {environment}` deploys it; "
            "`--draft` explains the draft",
        )
    where = f"{document.label}, revision {number} of {environment}"
    values = snapshot.configs[document.label].values
    source = YamlSource(name=where, value=values, text="", positions={})
    deployed = explain(replace(document, source=source), key, environment)
    return tuple(
        replace(
            setting,
            layer=environment if setting.where else setting.layer,
            where=setting.where and where,
            layers=tuple(
                replace(layer, name=environment, where=where) if layer.where else layer
                for layer in setting.layers
            ),
        )
        for setting in deployed
    )


_SHARED = ("generation", "retrieval", "model")
"""The keys that a profile or a language model has in common with a specialised model."""


def _with_others(
    setting: Explanation, snapshot: Snapshot, others: Sequence[tuple[str, str, str]]
) -> Explanation:
    """The setting with the layer of its language model below, and that of its profile above."""
    if setting.key.partition(".")[0] not in _SHARED:
        return setting
    below, above = (_layer(snapshot, setting.key, *other) for other in others)
    if setting.key == "model":  # there it is the name at the provider
        below = None
    own = tuple(layer for layer in setting.layers if layer.value is not None)
    layers = (*((below[0],) if below else ()), *own, *((above[0],) if above else ()))
    parsed = above[1] if above else setting.parsed if own else below[1] if below else None
    top = layers[-1] if layers else None
    return replace(
        setting,
        value=top and top.value,
        parsed=parsed,
        layer=top and top.name,
        where=top and top.where,
        layers=layers or setting.layers,
    )


def _layer(
    snapshot: Snapshot, key: str, label: str, name: str, suffix: str
) -> tuple[Layer, Any] | None:
    """What a config says at a dotted key, and the parsed value; None when it says nothing."""
    content, settings = snapshot.configs.get(label), snapshot.settings(label)
    values: Any = content.values if content else {}
    for step in key.split("."):
        values = values.get(step) if isinstance(values, Mapping) else None
    if values is None:
        return None
    owner = KINDS[split_label(label)[0]].settings_class
    places = {dotted(place.path): place for place in walk_settings(owner, settings, key=key)}
    value = mask_value(key, values)
    return Layer(name=name, value=value, where=label + suffix), places[key].parsed
