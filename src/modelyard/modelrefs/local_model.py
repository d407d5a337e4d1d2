"""A model whose files are on this machine and fit each other, so that it can be loaded."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.adapters.verify import check_adapter_files
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.modelrefs.resolving import ResolvedModel
from modelyard.records.modelref import ModelRef
from modelyard.weights.local import LocalBase
from modelyard.weights.pull import require_base


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A base that is available locally, and the adapter on it, if any."""

    base: LocalBase
    """The base."""
    version: AdapterVersion | None = None
    """The version of an adapter, whose files were checked against the base."""

    @property
    def ref(self) -> ModelRef:
        """The reference to exactly this: the version, else the base."""
        if self.version is None:
            return ModelRef("base", self.base.name)
        return ModelRef("adapter", self.version.adapter, self.version.number)

    @property
    def name(self) -> str:
        """What answers, as people write it: the version, else the base."""
        return self.version.name if self.version else self.base.name


def require_model(
    project: Project, model: ResolvedModel, *, progress: Progress, offline: bool = False
) -> LocalModel:
    """The model with its base, pulled first if it is not available locally, and a checked adapter.

    Raises InvalidInput, before anything is fetched, when the weights are elsewhere;
    BaseUnavailable, BaseDamaged, or what `check_adapter_files` raises.
    """
    if model.base is None:
        raise InvalidInput(
            f"{_why_elsewhere(model)}, so there are no weights to load here",
            hint="name a base, an adapter, or a language model of provider local; `models ask` "
            "asks the others",
        )
    if model.version is not None:
        return require_version(project, model.version, progress=progress, offline=offline)
    return LocalModel(base=require_base(project, model.base, progress=progress, offline=offline))


def require_version(
    project: Project, version: AdapterVersion, *, progress: Progress, offline: bool = False
) -> LocalModel:
    """A version of an adapter with its base, as `require_model` gives it."""
    name = version.manifest.base.name
    base = require_base(project, name, progress=progress, offline=offline)
    check_adapter_files(version.path, base)
    return LocalModel(base=base, version=version)


def _why_elsewhere(model: ResolvedModel) -> str:
    assert model.settings is not None
    who = str(model.ref)
    if model.ref.kind == "domain":
        who = f"{model.ref} is answered by {model.language_model}, which"
    places = {"builtin": "without a model", "openai_compatible": "at an endpoint"}
    provider = model.settings.provider
    return f"{who} answers {places.get(provider, f'at {provider}')}"
