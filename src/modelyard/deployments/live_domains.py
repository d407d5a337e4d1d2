"""The domains that are live, with the specialised model and the profile of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from modelyard.configs.kinds.integration import Integration
from modelyard.configs.kinds.specialized_models import SpecializedModel
from modelyard.core.errors import ModelyardError
from modelyard.deployments.snapshot import Snapshot


def integration_of(snapshot: Snapshot) -> Integration | None:
    """The live integration config, if there is one."""
    return cast("Integration | None", snapshot.settings("integration"))


def live_domains(snapshot: Snapshot) -> dict[str, str]:
    """The specialised model of each live domain."""
    return domains_of(snapshot.names("specialized_models"), integration_of(snapshot))


def domains_of(specialised: Sequence[str], integration: Integration | None) -> dict[str, str]:
    """The specialised model of each domain: the one of its name, or that of an integration task."""
    tasks = integration.model_integration.primary_models.tasks if integration else {}
    return dict(sorted({**{name: name for name in specialised}, **tasks}.items()))


def profile_in_use(snapshot: Snapshot, domain: str) -> str:
    """The performance profile of a live domain: the one chosen, else its own.

    Raises ModelyardError when the domain names a specialised model that is not live.
    """
    specialised = live_specialised(snapshot, live_domains(snapshot)[domain])
    return snapshot.profiles.get(domain, specialised.profile)


def live_specialised(snapshot: Snapshot, name: str) -> SpecializedModel:
    """The settings of a specialised model; ModelyardError when it is not live."""
    found: SpecializedModel | None = snapshot.settings(f"specialized_models/{name}")
    if found is None:
        raise ModelyardError(
            f"the specialised model {name} is not live",
            hint="correct primary_models.tasks of the integration, or add the config",
        )
    return found
