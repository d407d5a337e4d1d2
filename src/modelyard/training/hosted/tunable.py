"""What `--base-model` names: a base that is trained here, or a model that its provider tunes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.language_models import (
    WHY_NOT_TUNED,
    HostedFineTuning,
    LanguageModel,
    models_named,
)
from modelyard.core.errors import InvalidInput, ModelyardError, nearest
from modelyard.core.layout import Project
from modelyard.deployments.revisions import NotDeployed
from modelyard.deployments.running import running_settings
from modelyard.modelrefs.listing import names_and_aliases
from modelyard.weights.catalogue import base_names, bases_called

_PREFIX = "model:"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedBase:
    """A language model that its provider can tune."""

    name: str
    """The language model, by its name in the configs."""
    settings: LanguageModel
    """Its settings in the environment."""
    environment: str
    """The environment."""

    @property
    def tuning(self) -> HostedFineTuning:
        """What the config says about tuning; nothing where it says nothing."""
        return self.settings.fine_tuning or HostedFineTuning()

    @property
    def model(self) -> str:
        """The provider's name of the model that is tuned."""
        return self.tuning.model or self.settings.model

    @property
    def price_usd(self) -> float | None:
        """The price of a million training tokens; None: unknown."""
        return self.tuning.price_per_million_training_tokens_usd


def find_tunable(project: Project, word: str, environment: str) -> HostedBase | str:
    """The hosted model that a word names, or the name of a base to train here.

    A base by its name or repository; a language model that runs in the environment by its name, an
    alias, or else what its provider calls it. A word that fits none of them is given back: whoever
    looks for the base says so. Where a base is meant, configs that cannot be read do not matter.
    Raises InvalidInput for a model that nobody can train, and for a word that fits several;
    NotDeployed for a language model where nothing is deployed; ProblemsFound when the configs in
    which it may be are not valid.
    """
    asked = word.removeprefix(_PREFIX)
    if asked == word and ":" in word:
        return word
    if asked == word and bases_called(project, word):
        return _require_base_alone(project, word, environment)
    models = _language_models(project, asked, environment, only=asked != word)
    found = models_named(asked, models) or _by_model(asked, models)
    if len(found) > 1:
        raise InvalidInput(
            f"'{asked}' fits several language models: {', '.join(found)}",
            where="--base-model",
            hint=f"say which is meant, such as {found[0]}",
        )
    if found:
        return _tunable(found[0], models[found[0]], environment)
    known = names_and_aliases(models)
    near = nearest(asked, [*base_names(project), *known])
    if asked != word or near in known:
        suggestion = f" (did you mean '{near}'?)" if near in known else ""
        raise InvalidInput(
            f"no language model is called '{asked}' in {environment}{suggestion}",
            where="--base-model",
            hint=f"there are {', '.join(known)}" if known else "there is none yet",
        )
    return word


def _require_base_alone(project: Project, word: str, environment: str) -> str:
    """The name of a base. Raises InvalidInput when it is that of a language model too."""
    models: Mapping[str, LanguageModel] = {}
    with suppress(ModelyardError):
        models = running_settings(project, environment, "language_models")
    others = [
        name
        for name in models_named(word, models)
        if (models[name].provider, models[name].model, models[name].adapter)
        != ("local", word, None)  # the same, by another way
    ]
    if others:
        raise InvalidInput(
            f"'{word}' fits several models: base:{word}, model:{others[0]}",
            where="--base-model",
            hint=f"say which is meant, such as base:{word}",
        )
    return word


def _language_models(
    project: Project, asked: str, environment: str, *, only: bool
) -> Mapping[str, LanguageModel]:
    """The language models that run there; none where nothing is deployed and no draft is meant.

    `only`: whether nothing but a language model can be meant.
    """
    models: Mapping[str, LanguageModel]
    try:
        models = running_settings(project, environment, "language_models")
    except NotDeployed:
        drafts: Mapping[str, LanguageModel]
        drafts = running_settings(project, DEFAULT_ENVIRONMENT, "language_models")
        if only or models_named(asked, drafts) or _by_model(asked, drafts):
            raise
        models = {}
    return models


def _by_model(word: str, models: Mapping[str, LanguageModel]) -> list[str]:
    """The models that the provider calls so, themselves or what is tuned of them."""
    return [
        name
        for name, model in models.items()
        if not model.in_process
        and word in (model.model, model.fine_tuning and model.fine_tuning.model)
    ]


def _tunable(name: str, model: LanguageModel, environment: str) -> HostedBase | str:
    if model.can_be_tuned:
        return HostedBase(name=name, settings=model, environment=environment)
    if model.provider == "local":
        if model.adapter is not None:
            raise InvalidInput(
                f"{name} is the adapter {model.adapter} on {model.model}, not a base",
                where="--base-model",
                hint=f"continue from it with --from {model.adapter}, or name the base: "
                f"--base-model {model.model}",
            )
        return model.model
    raise InvalidInput(
        f"{name} cannot be fine-tuned: {WHY_NOT_TUNED[model.provider]}",
        where="--base-model",
        hint="name a base, as in `models base list`, or a language model of the provider openai "
        "or openai_compatible",
    )
