"""What a reference means in a project: which weights, or which provider, would answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard.adapters.versions import AdapterVersion, resolve_version
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.language_models import LanguageModel, models_named
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.deployments.revisions import NotDeployed
from modelyard.deployments.running import numbered_settings
from modelyard.modelrefs.listing import list_model_names, names_and_aliases
from modelyard.records.modelref import ModelKind, ModelRef
from modelyard.weights.catalogue import find_base


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model that exists."""

    ref: ModelRef
    """What was named: with its kind, an adapter with its version, a language model by its name."""
    base: str | None = None
    """The base whose weights answer; None when no weights of this project do."""
    version: AdapterVersion | None = None
    """The adapter on that base."""
    language_model: str | None = None
    """The language model of the configs through which it was found."""
    settings: LanguageModel | None = None
    """Its settings; for a domain, with the domain's layers applied."""
    environment: str | None = None
    """The environment whose configs named it; None for a base or an adapter."""
    config_revision: int | None = None
    """The newest revision there; None while nothing was deployed or switched."""


def resolve_model(
    project: Project, reference: str | ModelRef, *, environment: str = DEFAULT_ENVIRONMENT
) -> ResolvedModel:
    """The model that a reference names; configs are those that run in the environment.

    Raises InvalidInput when there is none, or when a bare name fits several; NotDeployed when it
    is one of the configs and nothing is deployed.
    """
    ref = ModelRef.parse(reference) if isinstance(reference, str) else reference
    if ref.kind is None:
        ref = _decide(project, ref.name, environment)
    assert ref.kind is not None
    return _RESOLVERS[ref.kind](project, ref, environment)


def _decide(project: Project, name: str, environment: str) -> ModelRef:
    """The one model that a bare name fits."""
    names = list_model_names(project, environment)
    found = names.matching(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(
            f"'{name}' fits several models: {', '.join(map(str, found))}",
            hint=f"say which is meant, such as {found[0]}",
        )
    if names.unread is not None and not isinstance(names.unread, NotDeployed):
        raise names.unread  # the model may be in the config that cannot be read
    raise InvalidInput(f"no model is called '{name}'{names.suggest(name)}", hint=names.listed())


def _resolve_base(project: Project, ref: ModelRef, environment: str) -> ResolvedModel:
    base = find_base(project, ref.name).name
    return ResolvedModel(ref=ModelRef("base", base), base=base)


def _resolve_adapter(project: Project, ref: ModelRef, environment: str) -> ResolvedModel:
    version = resolve_version(project, str(ref))
    return ResolvedModel(
        ref=ModelRef("adapter", version.adapter, version.number),
        base=version.manifest.base.name,
        version=version,
    )


def _resolve_language_model(project: Project, ref: ModelRef, environment: str) -> ResolvedModel:
    models: Mapping[str, LanguageModel]
    revision, models = numbered_settings(project, environment, "language_models")
    found = models_named(ref.name, models)
    if not found:
        known = names_and_aliases(models)
        raise InvalidInput(
            f"no language model is called '{ref.name}' in {environment}"
            f"{did_you_mean(ref.name, known)}",
            hint=f"there are {', '.join(known)}" if known else "there is none yet",
        )
    if len(found) > 1:
        raise InvalidInput(
            f"'{ref.name}' is a name of {' and '.join(found)}",
            hint="`models validate-config` shows where; take it from one of them",
        )
    [name] = found
    model = EffectiveModel(name=name, settings=models[name])
    return resolve_configured(project, ModelRef("model", name), model, environment, revision)


def _resolve_domain(project: Project, ref: ModelRef, environment: str) -> ResolvedModel:
    effective = load_effective(environment, ref.name, project=project)
    return resolve_configured(project, ref, effective.model, environment, effective.revision)


def _resolve_custom(project: Project, ref: ModelRef, environment: str) -> ResolvedModel:
    raise InvalidInput(
        f"there is no custom model called '{ref.name}'",
        hint="name a base, an adapter, a language model or a domain",
    )


def resolve_configured(
    project: Project, ref: ModelRef, model: EffectiveModel, environment: str, revision: int
) -> ResolvedModel:
    """A language model of the configs; of a local one also its base and its adapter.

    `revision` is the one that the settings are part of; 0 for none.
    Raises InvalidInput when there is no such base or version, or it was trained on another base.
    """
    settings, base, version = model.settings, None, None
    if settings.provider == "local":
        base = find_base(project, settings.model).name
        if settings.adapter is not None:
            version = resolve_version(project, settings.adapter)
            require_trained_on(version, base, hint=f"correct the config of {model.name}")
    return ResolvedModel(
        ref=ref,
        base=base,
        version=version,
        language_model=model.name,
        settings=settings,
        environment=environment,
        config_revision=revision or None,
    )


def require_trained_on(version: AdapterVersion, base: str, *, hint: str) -> None:
    """Raise InvalidInput when the version was trained on another base than the one named."""
    trained_on = version.manifest.base.name
    if trained_on != base:
        raise InvalidInput(f"{version.name} was trained on {trained_on}, not on {base}", hint=hint)


_RESOLVERS: Mapping[ModelKind, Callable[[Project, ModelRef, str], ResolvedModel]] = {
    "base": _resolve_base,
    "adapter": _resolve_adapter,
    "model": _resolve_language_model,
    "domain": _resolve_domain,
    "custom": _resolve_custom,
}
