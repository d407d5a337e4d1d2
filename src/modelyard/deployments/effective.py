"""Effective settings: what other packages ask for and act on.

`load_effective(environment, domain)` gives everything for one domain of work, with its layers laid
over each other: language model, then specialised model, then performance profile. It costs one
read of one row of state.db as long as nothing is deployed, and a process that runs sees a
deployment or a switch of another at its next call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import Integration
from modelyard.core.layout import Project, find_project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.deployments.layers import build_effective
from modelyard.deployments.live_domains import integration_of, live_domains
from modelyard.deployments.revisions import Stamp, check_environment, find_live, not_deployed
from modelyard.deployments.running import drafts_stamp, running_snapshot
from modelyard.deployments.snapshot import Snapshot


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
    kept = _read_live(project or find_project(), environment)
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
    return integration_of(_read_live(project, environment).snapshot)


def load_live_domains(environment: str, *, project: Project) -> tuple[str, ...]:
    """The domains of an environment, sorted. Raises NotDeployed when nothing is deployed."""
    return tuple(live_domains(_read_live(project, environment).snapshot))


def _read_live(project: Project, environment: str) -> _Kept:
    """What is live now, read again only when that has changed."""
    live = find_live(project, environment)
    is_draft = environment == DEFAULT_ENVIRONMENT
    if live is None and not is_draft:
        raise not_deployed(check_environment(project, environment))
    stamp = (live, drafts_stamp(project) if is_draft else None)
    kept = _kept.get((project.root, environment))
    if kept is None or kept.stamp != stamp:
        number, snapshot = running_snapshot(project, environment)
        kept = _kept[project.root, environment] = _Kept(stamp, number, snapshot, {})
    return kept
