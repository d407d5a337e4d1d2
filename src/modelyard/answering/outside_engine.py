"""Local models that an engine outside this process computes, behind the API of OpenAI.

What stands in the configs as a local model is asked of the engine instead, under the name that the
engine has for it. Who may ask, what it may cost and what is recorded stays where it was.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from modelyard.adapters.versions import active_number
from modelyard.configs.kinds.language_models import LanguageModel, Prices, is_loopback
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.providers.listing import list_models
from modelyard.providers.open import open_provider

_LISTED_FOR_S = 5.0
"""How long a list of the engine's models counts."""
_LIST_TIMEOUT_S = 5.0


class NotServed(ModelyardError):
    """The engine does not answer, or has no model of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Where it is."""

    url: str
    """Of its API, up to and with `/v1`."""
    key: str | None = None
    """A reference to its key; None where it wants none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A model as the engine has it."""

    model: EffectiveModel
    """With the settings of a client of the engine."""
    adapter_digest: str | None
    """Of the version that answers; None where the engine's name does not say which that is."""


class OutsideEngine:
    """Finds local models among those of an engine; threads may share it."""

    def __init__(self, project: Project, engine: Engine) -> None:
        self._project, self._engine = project, engine
        self._client = open_provider(self._settings(_NOBODY, "models"), project)
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._listed_at: float | None = None

    def names(self) -> frozenset[str]:
        """What the engine calls its models. Raises NotServed when it does not say."""
        with self._lock:
            now = time.monotonic()
            if self._listed_at is None or now - self._listed_at > _LISTED_FOR_S:
                listed = list_models(self._client, timeout_s=_LIST_TIMEOUT_S)
                if not isinstance(listed, frozenset):
                    self._listed_at = None
                    reason = "it has no list" if listed is None else listed.reason
                    raise NotServed(
                        f"the engine does not list its models: {reason}",
                        hint="start it, or correct --engine-url and --engine-key",
                    )
                self._names, self._listed_at = listed, now
            return self._names

    def place(self, model: EffectiveModel, environment: str) -> Placed:
        """A local model as the engine has it.

        An adapter is looked up as NAME@VERSION, and in its active version as NAME; a bare base by
        its name. An adapter that the engine lacks is never answered by its base. Raises NotServed
        for a model that the engine does not have, and what `resolve_configured` raises.
        """
        from modelyard.modelrefs.resolving import resolve_configured
        from modelyard.records.modelref import ModelRef

        ref = ModelRef("model", model.name)
        found = resolve_configured(self._project, ref, model, environment, 0)
        assert found.base is not None
        names, version = self.names(), found.version
        if version is None:
            wanted = [found.base]
        else:
            adapter = version.name.partition("@")[0]
            is_active = active_number(self._project, adapter) == version.number
            wanted = [version.name, *([adapter] if is_active else [])]
        name = next((each for each in wanted if each in names), None)
        if name is None:
            raise NotServed(f"{wanted[0]} is not served by the engine")
        is_exact = version is not None and name == version.name
        return Placed(
            model=replace(model, settings=self._settings(model.settings, name)),
            adapter_digest=version.manifest.digest if version and is_exact else None,
        )

    def _settings(self, settings: LanguageModel, name: str) -> LanguageModel:
        return replace(
            settings,
            provider="openai_compatible",
            model=name,
            adapter=None,
            endpoint=self._engine.url,
            stays_local=is_loopback(self._engine.url),
            api_key=self._engine.key,
            prices=settings.prices or _FREE,
            limits=settings.limits
            if settings.limits.concurrent_requests
            else replace(settings.limits, concurrent_requests=_AT_ONCE),
        )


_AT_ONCE = 1024
"""The engine has a line of its own; the service bounds what it is sent at once."""
_FREE = Prices(input_per_million_usd=0.0, output_per_million_usd=0.0)
"""The engine is the organisation's own: it sends no bill."""
_NOBODY = LanguageModel(
    description="the engine",
    provider="openai_compatible",
    model="models",
    context_tokens=16,
    max_output_tokens=1,
)
