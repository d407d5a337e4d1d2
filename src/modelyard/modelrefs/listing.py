"""The names of all models in a project: what a bare name fits, what is near, what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelyard.adapters.versions import list_known_adapters
from modelyard.configs.kinds.language_models import LanguageModel, models_named
from modelyard.core.errors import ModelyardError, nearest
from modelyard.core.layout import Project
from modelyard.deployments.live_domains import live_domains
from modelyard.deployments.running import running_settings, running_snapshot
from modelyard.records.modelref import ModelRef
from modelyard.weights.catalogue import base_names

_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNames:
    """The names of all models of a project, with the configs that run in an environment."""

    bases: tuple[str, ...] = ()
    """Bases that have a card."""
    adapters: tuple[str, ...] = ()
    """Adapters that have a version."""
    language_models: Mapping[str, LanguageModel]
    """Language models of the configs, by name."""
    domains: tuple[str, ...] = ()
    """Domains of the configs."""
    unread: ModelyardError | None = None
    """Why the names of the configs are missing, when they cannot be read."""

    def matching(self, name: str) -> list[ModelRef]:
        """The models that a bare name fits; a language model by its name or an alias."""
        found = [ModelRef("base", name)] if name in self.bases else []
        found += [ModelRef("adapter", name)] if name in self.adapters else []
        models = models_named(name, self.language_models)
        return found + [ModelRef("model", model) for model in models]

    def suggest(self, name: str) -> str:
        """` (did you mean 'x'?)` for the model whose name is most like a bare one, or nothing."""
        bare = (*self.bases, *self.adapters, *names_and_aliases(self.language_models))
        written = {domain: f"domain:{domain}" for domain in self.domains}
        written |= {each: each for each in bare}
        near = nearest(name, list(written))
        return f" (did you mean '{written[near]}'?)" if near else ""

    def listed(self) -> str:
        """What there is, in one line: some of each kind."""
        kinds = {
            "base models": self.bases,
            "adapters": self.adapters,
            "language models": map(_with_aliases, self.language_models.items()),
            "domains": (f"domain:{name}" for name in self.domains),
        }
        shown = [f"{words} {some}" for words, names in kinds.items() if (some := _some(names))]
        known = f"there are {'; '.join(shown)}" if shown else "this project has no models"
        return f"{known}; {self.unread.message}" if self.unread else known


def names_and_aliases(models: Mapping[str, LanguageModel]) -> list[str]:
    """Everything that the language models are called."""
    return [*models, *(alias for model in models.values() for alias in model.aliases)]


def list_model_names(project: Project, environment: str) -> ModelNames:
    """The names of all models, those of configs as they run in an environment.

    Configs that cannot be read, or are not deployed, are missing, and `unread` says why.
    """
    models: Mapping[str, LanguageModel] = {}
    domains: tuple[str, ...] = ()
    unread = None
    try:
        models = running_settings(project, environment, "language_models")
        domains = tuple(live_domains(running_snapshot(project, environment)[1]))
    except ModelyardError as error:
        unread = error
    return ModelNames(
        bases=tuple(base_names(project)),
        adapters=tuple(list_known_adapters(project)),
        language_models=models,
        domains=domains,
        unread=unread,
    )


def _with_aliases(named: tuple[str, LanguageModel]) -> str:
    name, model = named
    return f"{name} ({', '.join(model.aliases)})" if model.aliases else name


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join((*every[:_MOST_SHOWN], *(["..."] if len(every) > _MOST_SHOWN else [])))
