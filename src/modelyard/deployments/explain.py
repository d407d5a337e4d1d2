"""The settings of a config or a domain, and why they are what they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.configs.explain import Explanation, explain
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue, GivenConfigs
from modelyard.core.errors import InvalidInput
from modelyard.deployments.domain_settings import explain_domain, explain_specialised
from modelyard.deployments.origins import open_running
from modelyard.deployments.snapshot import split_label
from modelyard.results.json_form import published

DOMAIN = "domain:"
"""Begins the name of a domain where the name of a config can stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedConfig:
    """A config or a domain with its settings, each with its origin."""

    kind: str
    """The kind of config; `domain` for a domain."""
    name: str
    """The name of the config or the domain."""
    file: str | None
    """The draft; None for a domain, and for a config that is live without a draft."""
    environment: str | None
    """The environment; None for a draft without the overlay of one."""
    revision: int | None
    """The revision that is live there; None for a draft."""
    settings: tuple[Explanation, ...] = field(metadata=published(without=("path",)))
    """The settings asked for."""

    @property
    def label(self) -> str:
        """What commands take for it: KIND/NAME, the kind of a single file, or domain:NAME."""
        if self.kind == "domain":
            return f"{DOMAIN}{self.name}"
        return self.kind if self.name == self.kind else f"{self.kind}/{self.name}"


def explain_config(
    catalogue: ConfigCatalogue, word: str, environment: str | None, key: str = "", *, draft: bool
) -> ExplainedConfig:
    """The settings of a config or of `domain:NAME` at a dotted key or below it; all without one.

    As commands in the environment use them; of a draft as the file has them, for which alone the
    environment may be left out. The active performance profile overrides a specialised model, and
    the language model gives what neither of them sets.
    Raises InvalidInput for what does not exist or is not deployed, NotDeployed when nothing is,
    ProblemsFound for a config that is not valid, ModelyardError for a domain for which nothing can
    answer.
    """
    if environment is None or draft or isinstance(catalogue, GivenConfigs):
        return _explain_draft(catalogue, word, environment, key)
    running = open_running(catalogue, environment)
    if word.startswith(DOMAIN):
        name = word.removeprefix(DOMAIN)
        return ExplainedConfig(
            kind="domain",
            name=name,
            file=None,
            environment=environment,
            revision=running.live_revision,
            settings=explain_domain(running, name, key),
        )
    label = running.label_of(word)
    kind, name = split_label(label)
    of_a_domain = kind == "specialized_models"
    found = catalogue.find(kind, name)
    return ExplainedConfig(
        kind=kind,
        name=name,
        file=found.source.name if found else None,
        environment=environment,
        revision=running.live_revision if KINDS[kind].deployable else None,
        settings=explain_specialised(running, label, key)
        if of_a_domain
        else running.explain(label, key),
    )


def _explain_draft(
    catalogue: ConfigCatalogue, word: str, environment: str | None, key: str
) -> ExplainedConfig:
    if word.startswith(DOMAIN):
        raise InvalidInput(
            f"{word} has settings in an environment, and no file of its own",
            hint="leave out --draft",
        )
    if environment is not None:
        catalogue.environments.require(environment)
    document = catalogue.read(catalogue.locate(word))
    return ExplainedConfig(
        kind=document.kind.name,
        name=document.name,
        file=document.source.name,
        environment=environment,
        revision=None,
        settings=explain(document, key, environment),
    )
