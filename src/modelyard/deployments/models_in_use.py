"""The language models that may answer a request in an environment."""

from __future__ import annotations

from contextlib import suppress

from modelyard.core.errors import ModelyardError
from modelyard.deployments.effective import build_effective, live_domains
from modelyard.deployments.snapshot import Snapshot


def models_in_use(snapshot: Snapshot, environment: str, revision: int) -> tuple[str, ...]:
    """The names of all language models that a domain, or a request without one, may be answered by.

    A domain that no model can answer uses none.
    """
    found: dict[str, None] = {}
    for domain in (None, *live_domains(snapshot)):
        with suppress(ModelyardError):
            effective = build_effective(snapshot, environment, revision, domain)
            for model in (
                effective.model,
                *effective.fallback,
                *(rule.model for rule in effective.rules),
            ):
                found[model.name] = None
    return tuple(found)
