"""The language models that may answer a request in an environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from modelyard.core.errors import ModelyardError
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.deployments.layers import build_effective
from modelyard.deployments.live_domains import live_domains
from modelyard.deployments.snapshot import Snapshot

Uses = dict[str | None, EffectiveModel]
"""The domains that may ask a model, with its settings there; None: requests without a domain."""


def models_in_use(snapshot: Snapshot, environment: str, revision: int) -> dict[str, Uses]:
    """All language models that may answer in an environment, by name, and where.

    A domain that no model can answer uses none.
    """
    found: dict[str, Uses] = {}
    for domain in (None, *live_domains(snapshot)):
        with suppress(ModelyardError):
            effective = build_effective(snapshot, environment, revision, domain)
            test = effective.ab_test
            for settings in (test.a, test.b, effective) if test else (effective,):
                for model in _models_of(settings):
                    found.setdefault(model.name, {})[domain] = model
    return found


def _models_of(effective: Effective) -> Iterator[EffectiveModel]:
    yield effective.model
    yield from effective.fallback
    yield from (rule.model for rule in effective.rules)
