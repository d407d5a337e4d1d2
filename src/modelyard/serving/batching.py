"""How many answers are computed at once: as the command line says, or the profiles of domains."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective, load_live_domains

USUAL_BATCH = 16
"""How many are computed at once where nobody says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainBatch:
    """How many answers of a domain are computed at once."""

    domain: str
    """The domain."""
    profile: str | None
    """Its profile, which says so."""
    most: int | None
    """The most; None: as many as of all domains together."""


def list_batches(project: Project, environment: str) -> tuple[DomainBatch, ...]:
    """Of each domain of an environment, as it is now.

    Raises NotDeployed when nothing is deployed, and what reading its configs raises.
    """
    found = []
    for domain in load_live_domains(environment, project=project):
        effective = load_effective(environment, domain, project=project)
        most = effective.batching.max_requests
        found.append(DomainBatch(domain=domain, profile=effective.profile, most=most))
    return tuple(found)


def choose_max_batch(project: Project, environment: str, given: int | None) -> int:
    """How many answers of one base a service computes at once.

    given: what the command line says, which wins; else it is the usual number, or more where the
    profile of a domain has more. Raises what `list_batches` raises.
    """
    if given is not None:
        return given
    batches = list_batches(project, environment)
    return max(USUAL_BATCH, *(each.most or 0 for each in batches), 0)
