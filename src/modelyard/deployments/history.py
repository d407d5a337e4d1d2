"""The history of deployments: each revision with what it changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelyard.core.layout import Project
from modelyard.deployments.plan import ProfileChange, profile_changes
from modelyard.deployments.revisions import Revision, list_revisions, load_texts
from modelyard.deployments.snapshot import given_keys
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
    given: tuple[str, ...]
    """What `--set` gave of the configs that it added or changed: the label, a blank, the key."""


def list_deployments(project: Project, environments: Iterable[str]) -> tuple[PastDeployment, ...]:
    """Every revision of these environments, oldest first within each."""
    return tuple(
        deployment
        for environment in environments
        for deployment in _past(project, list_revisions(project, environment))
    )


def _past(project: Project, revisions: list[Revision]) -> list[PastDeployment]:
    past = []
    records = load_texts(
        project, {digest for each in revisions for digest in each.origins.values()}
    )
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
                given=tuple(_given(revision, configs, records)),
            )
        )
        configs, profiles = revision.configs, revision.profiles
    return past


def _given(
    revision: Revision, before: Mapping[str, str], records: Mapping[str, str]
) -> Iterator[str]:
    """What `--set` gave of the configs that a revision made live, by the records of origins."""
    for label, digest in revision.configs.items():
        if before.get(label) != digest:
            record = records.get(revision.origins.get(label, ""))
            yield from (f"{label} {key}" for key in given_keys(record))
