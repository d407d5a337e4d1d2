"""The variants of an A/B test, as the configs would be without the test and with one of them.

What answers while the test runs and what stays when it ends come from the same function, so that
what is kept is what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelyard.configs.kinds.integration import AbTest, Integration, Variant
from modelyard.core.errors import ModelyardError
from modelyard.deployments.snapshot import Content, Snapshot, content_of

INTEGRATION = "integration"
_JOINT = "model_integration"
_TEST = "ab_test"


class NoTest(ModelyardError):
    """No A/B test runs in an environment."""


def require_test(integration: Integration | None, environment: str) -> AbTest:
    """The A/B test of an environment. Raises NoTest where none runs."""
    test = integration.model_integration.ab_test if integration else None
    if test is None:
        raise NoTest(
            f"no A/B test runs in {environment}",
            hint="`ab_test` in configs/integration.yaml begins one (docs/comparing.md)",
        )
    return test


def variant_values(
    test: AbTest, variant: Variant, label: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a config with a variant in them and without the test.

    label: KIND/NAME.  values: as written, resolved for one environment.
    """
    kind, _, name = label.partition("/")
    if label == INTEGRATION:
        joint = {key: value for key, value in values[_JOINT].items() if key != _TEST}
        if variant.model is not None and not test.domains:
            joint["primary_models"] = {**joint["primary_models"], "language": variant.model}
        return {**values, _JOINT: joint}
    if kind != "specialized_models" or name not in test.domains:
        return dict(values)
    own = {"model": variant.model, "adapter": variant.adapter, "profile": variant.profile}
    return {**values, **{key: value for key, value in own.items() if value is not None}}


def with_variant(
    snapshot: Snapshot, test: AbTest, variant: Variant, tasks: Mapping[str, str]
) -> Snapshot:
    """Everything that is live, with a variant in it and without the test.

    tasks: the specialised model of each domain. A profile that was switched to gives way to one
    that the variant names.
    """
    configs: dict[str, Content] = dict(snapshot.configs)
    for label in (INTEGRATION, *(f"specialized_models/{name}" for name in test.domains)):
        if label in configs:
            content = configs[label]
            values = variant_values(test, variant, label, content.values)
            if values != content.values:
                configs[label] = content_of(values, content.origins)
    profiles = dict(snapshot.profiles)
    if variant.profile is not None:
        profiles = {
            domain: profile
            for domain, profile in profiles.items()
            if tasks.get(domain) not in test.domains
        }
    return replace(snapshot, configs=configs, profiles=profiles)
