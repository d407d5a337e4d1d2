"""The kinds of config: one settings class each, from which schema and docs are generated.

A class is imported when a file of its kind is read, so that checking one file stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, cast

STANDARD_ENVIRONMENTS = ("development", "test", "production")
"""The environments of a project that has no configs/environments.yaml."""

DEFAULT_ENVIRONMENT = "development"
"""The environment when none is named: every project has it, and it reads the drafts."""

HEADER_KEYS = ("name", "environments")
"""The keys that every config that can be deployed has beside its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of config."""

    name: str
    """The folder under configs/ that its files lie in, or its one file; and its schema."""
    noun: str
    """What a message calls one config of it."""
    title: str
    """What one file of it is, in a few words."""
    settings: str
    """The name of the settings class, in the module that is called like the kind."""
    single: bool = False
    """Whether it has one file, configs/KIND.yaml, instead of a folder."""
    deployable: bool = True
    """Whether its configs are deployed, with an overlay for each environment; else every command
    reads the file in configs/."""

    @property
    def header_keys(self) -> tuple[str, ...]:
        """The keys of its files that are not settings."""
        return HEADER_KEYS if self.deployable else ()

    @property
    def place(self) -> str:
        """Where its configs lie."""
        return f"configs/{self.name}.yaml" if self.single else f"configs/{self.name}/"

    @property
    def settings_class(self) -> type[Any]:
        """The settings class, imported when it is asked for."""
        return _load_class(self.name, self.settings)


@cache
def _load_class(kind: str, name: str) -> type[Any]:
    return cast(type[Any], getattr(import_module(f"{__name__}.{kind}"), name))


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="language_models",
            noun="language model",
            title="One language model: where it runs, its limits and its prices",
            settings="LanguageModel",
        ),
        Kind(
            name="specialized_models",
            noun="specialised model",
            title="One domain of work: the model, the instructions and the sources it gets",
            settings="SpecializedModel",
        ),
        Kind(
            name="embedding_models",
            noun="embedding group",
            title="One group of search domains: the encoder, the sources and the ranking",
            settings="EmbeddingGroup",
        ),
        Kind(
            name="performance_profiles",
            noun="performance profile",
            title="One balance of accuracy, speed and cost",
            settings="PerformanceProfile",
        ),
        Kind(
            name="fine_tuning",
            noun="fine tuning",
            title="How an adapter is trained",
            settings="FineTuning",
        ),
        Kind(
            name="test_suites",
            noun="test suite",
            title="What a configuration is tested with, and what it must reach",
            settings="TestSuite",
        ),
        Kind(
            name="integration",
            noun="integration",
            title="How the models work together: fallback, routing, budgets, alerts",
            settings="Integration",
            single=True,
        ),
        Kind(
            name="environments",
            noun="declaration of environments",
            title="The environments of the project: what each inherits, and which are protected",
            settings="ProjectEnvironments",
            single=True,
            deployable=False,
        ),
    )
}
