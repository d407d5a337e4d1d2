"""The history of deployments: each revision with what it changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from modelyard.core.layout import Project
from modelyard.deployments.plan import ProfileChange, profile_changes
from modelyard.deployments.revisions import Revision, list_revisions
from modelyard.results.json_form import published
from modelyard.secrets.detection import mask_secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDeployment:
    """One revision, and what it changed."""

    revision: Revision = field(
        metadata=published(inline=True, without=("configs", "profiles", "files", "origins"))
    )
    """The revision."""
    live: bool
    """Whether it is live."""
    added: tuple[str, ...]
    """Configs that it added."""
    changed: tuple[str, ...]
    """Configs that it changed."""
    removed: tuple[str, ...]
    """Configs that it removed."""
    profiles: tuple[ProfileChange, ...]
    """Every changed choice of a profile."""


def list_deployments(project: Project, environments: Iterable[str]) -> tuple[PastDeployment, ...]:
    """Every revision of these environments, oldest first within each."""
    return tuple(
        deployment
        for environment in environments
        for deployment in _past(list_revisions(project, environment))
    )


def _past(revisions: list[Revision]) -> list[PastDeployment]:
    past = []
    configs: Mapping[str, str] = {}
    profiles: Mapping[str, str] = {}
    for revision in revisions:
        new = revision.configs
        past.append(
            PastDeployment(
                revision=replace(
                    revision, reason=revision.reason and mask_secrets(revision.reason)
                ),
                live=revision is revisions[-1],
                added=tuple(label for label in new if label not in configs),
                changed=tuple(
                    label for label in new if configs.get(label, new[label]) != new[label]
                ),
                removed=tuple(label for label in configs if label not in new),
                profiles=profile_changes(profiles, revision.profiles),
            )
        )
        configs, profiles = revision.configs, revision.profiles
    return past
