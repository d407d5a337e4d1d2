"""What is tested: a profile, a model, an adapter or domains, as the settings that requests get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.answering.asked_model import load_asked
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.configs.reading.catalogue import ConfigCatalogue, kind_name
from modelyard.configs.reading.document import config_name, peek_name
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective
from modelyard.deployments.running import config_named
from modelyard.records.modelref import ModelRef

PRIMARY = "primary"
_PROFILES, _MODELS, _DOMAINS = "performance_profiles", "language_models", "specialized_models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is tested, in one environment."""

    name: str
    """`profile:balanced`, `domain:x`, a model's reference, `primary`; of several, joined."""
    environment: str
    """The environment."""
    effective: Mapping[str | None, Effective]
    """The settings of each domain that is asked unless a check names its own; None: no domain."""
    model: str | None
    """The only model that is asked, as `ModelRef.parse` reads it; None: those of the configs."""
    profile: str | None
    """The performance profile; None: that of each domain."""

    def of_domain(self, project: Project, domain: str) -> Effective:
        """The settings of a domain that a check names, with this target's profile and model."""
        found = self.effective.get(domain)
        return found or _load(
            project, self.environment, domain=domain, model=self.model, profile=self.profile
        )

    @property
    def own_suite(self) -> str | None:
        """The suite that the domains name as what measures them; None: none of them names one.

        Raises InvalidInput when they name several.
        """
        named = {
            effective.quality.test_suite: effective.domain
            for effective in self.effective.values()
            if effective.quality.test_suite is not None
        }
        if len(named) > 1:
            which = ", ".join(f"{domain}: {suite}" for suite, domain in named.items())
            raise InvalidInput(
                f"these domains name several test suites ({which})",
                hint="say which one with --test-suite, or test one domain at a time",
            )
        return next(iter(named), None)

    @property
    def revision(self) -> int | None:
        """The revision that the settings come from; None: drafts."""
        return next(iter(self.effective.values())).revision or None


def find_target(
    project: Project,
    environment: str,
    *,
    config: str | None = None,
    model: str | None = None,
    adapter: str | None = None,
    domains: Sequence[str] = (),
) -> Target:
    """What a person means.

    config: a performance profile, a language model or a domain, by its file or its name; a bare
        name is that of a profile where there is one.
    model: a model, as `ModelRef.parse` reads it.  adapter: NAME or NAME@VERSION.
    domains: asked instead of requests without a domain.
    Without all of them the environment's primary model is tested, by its own settings.
    Raises InvalidInput when there is no such thing, or two of them name the model.
    """
    profile = None
    if adapter is not None:
        if model is not None:
            raise InvalidInput("--model and --adapter both name the model", hint="give one of them")
        model = str(ModelRef.parse(adapter, kind="adapter"))
    if config is not None:
        kind, name = _find_config(project, config, environment)
        if kind == _PROFILES:
            profile = name
        elif kind == _DOMAINS:
            domains = (name, *domains)
        elif model is not None:
            raise InvalidInput(
                f"--config {config} is a language model, and {model} is given too",
                hint="give one of them",
            )
        else:
            model = f"model:{name}"
    if model is not None and (ref := ModelRef.parse(model)).kind == "domain":
        domains, model = (ref.name, *domains), None
    named = (config_named(project, domain, _DOMAINS) for domain in domains)
    asked = tuple(dict.fromkeys(named)) or (None,)
    effective = {
        domain: _load(project, environment, domain=domain, model=model, profile=profile)
        for domain in asked
    }
    names = [f"profile:{profile}"] if profile else []
    names += [model] if model else []
    names += [f"domain:{domain}" for domain in asked if domain is not None]
    return Target(
        name=" + ".join(names) or PRIMARY,
        environment=environment,
        effective=effective,
        model=model,
        profile=profile,
    )


def _load(
    project: Project,
    environment: str,
    *,
    domain: str | None,
    model: str | None,
    profile: str | None,
) -> Effective:
    """The settings, with nothing kept from one answer for another: no cache, no recorded prompt."""
    effective = load_asked(project, environment, domain=domain, model=model, profile=profile)
    return replace(effective, cache=AnswerCache(), record_prompts=RecordPrompts())


def _find_config(project: Project, word: str, environment: str) -> tuple[str, str]:
    """The kind and the name of the config that is meant."""
    catalogue = ConfigCatalogue(project)
    try:
        path = catalogue.locate(word, kind=_PROFILES)
    except InvalidInput as no_profile:
        try:
            path = catalogue.locate(word)
        except InvalidInput as error:
            if environment != DEFAULT_ENVIRONMENT:  # it may be live and no draft any more
                return _PROFILES, config_name(Path(word))
            # The nearest profile is what was meant, if one is near.
            raise (no_profile if "did you mean" in no_profile.message else error) from None
    kind = kind_name(path)
    if kind not in (_PROFILES, _MODELS, _DOMAINS):
        raise InvalidInput(
            f"{project.show(path)} cannot be tested by itself",
            hint="name a performance profile, a language model or a domain; --test-suite names "
            "the suite",
        )
    if not Path(path).is_relative_to(project.configs):
        raise InvalidInput(
            f"{word} is not in {project.show(project.configs)}/, so no command runs with it",
            hint=f"copy it to configs/{kind}/; in another environment than development, deploy it",
        )
    return kind, peek_name(path)
