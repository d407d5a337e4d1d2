"""By which settings a request is answered: those of a domain, another profile, a model by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.deployments.running import config_named

if TYPE_CHECKING:
    from modelyard.modelrefs.resolving import ResolvedModel

_LONGEST_ANSWER = 1024
"""Tokens of an answer of a base or an adapter that no config describes, unless more are asked for.
"""


def load_asked(
    project: Project,
    environment: str,
    *,
    domain: str | None = None,
    model: str | None = None,
    profile: str | None = None,
) -> Effective:
    """The settings for a request.

    domain: a name, or the config that a path names; None for a request without one.
    model: who is to answer, as `ModelRef.parse` reads it, and nobody else: a base, an adapter, a
        language model. `domain:NAME` is the same as the domain.
    profile: a performance profile instead of the one that the domain uses.
    Raises what `resolve_model` and `load_effective` raise.
    """
    if domain is not None:
        domain = config_named(project, domain, "specialized_models")
    if profile is not None:
        profile = config_named(project, profile, "performance_profiles")
    if model is None:
        return load_effective(environment, domain, project=project, profile=profile)
    from modelyard.modelrefs.resolving import resolve_model

    resolved = resolve_model(project, model, environment=environment)
    if resolved.ref.kind == "domain":
        if domain not in (None, resolved.ref.name):
            raise InvalidInput(
                f"{resolved.ref} is not of the domain {domain}", hint="name one of the two"
            )
        return load_effective(environment, resolved.ref.name, project=project, profile=profile)
    named = _named_model(project, resolved)
    return load_effective(environment, domain, project=project, profile=profile, model=named)


def _named_model(project: Project, resolved: ResolvedModel) -> EffectiveModel:
    """The language model that was named; of a base or an adapter one is made up."""
    from modelyard.weights.catalogue import find_base

    if resolved.language_model is not None and resolved.settings is not None:
        return EffectiveModel(name=resolved.language_model, settings=resolved.settings)
    assert resolved.base is not None
    context = find_base(project, resolved.base).context_length
    longest = min(_LONGEST_ANSWER, context // 2)
    settings = LanguageModel(
        description=f"{resolved.ref}, by its name",
        provider="local",
        model=resolved.base,
        adapter=resolved.version.name if resolved.version else None,
        context_tokens=context,
        max_output_tokens=context,
        generation=Generation(temperature=0.0, max_output_tokens=longest),
    )
    return EffectiveModel(name=str(resolved.ref), settings=settings)
