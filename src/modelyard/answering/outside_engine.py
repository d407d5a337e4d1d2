"""Local models that an engine outside this process computes, behind the API of OpenAI.

What stands in the configs as a local model is asked of the engine instead, under the name that the
engine has for it. Who may ask, what it may cost and what is recorded stays where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from modelyard.adapters.versions import active_number
from modelyard.configs.kinds.language_models import LanguageModel, Prices, is_loopback
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.providers.listing import list_models
from modelyard.providers.open import open_provider

_LISTED_FOR_S, _FAILED_FOR_S = 5.0, 1.0
"""How long a list of the engine's models counts, and how long that it gave none."""
_LIST_TIMEOUT_S = 5.0


class NotServed(ModelyardError):
    """The engine does not say which models it has."""


class NotListed(NotServed):
    """It does, and has no model of this name.

    name: the adapter's version, or the base, as people write it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not served by the engine", hint="let the engine load it under that name"
        )
        self.name = name


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """What the engine last said of its models."""

    until_s: float
    """How long that counts, by `time.monotonic`."""
    contexts: Mapping[str, int | None]
    """The tokens of each one's context, where it says so."""
    failure: str | None = None
    """Why it said nothing."""


class OutsideEngine:
    """Finds local models among those of an engine; threads may share it."""

    def __init__(self, project: Project, engine: Engine) -> None:
        self._project, self._engine = project, engine
        self._client = open_provider(self._settings(_NOBODY, "models"), project)
        self._asking = threading.Lock()
        self._listed: _Listed | None = None

    def contexts(self) -> Mapping[str, int | None]:
        """What the engine calls its models, with the tokens of each one's context where it says so.

        One thread asks again; all others go on with what was said last, also where that was
        nothing. Raises NotServed when it does not say.
        """
        last = self._listed
        is_old = last is None or time.monotonic() > last.until_s
        if is_old and self._asking.acquire(blocking=last is None):
            try:
                if self._listed is last:  # else another thread has asked meanwhile
                    self._listed = self._list()
            finally:
                self._asking.release()
        listed = self._listed
        assert listed is not None
        if listed.failure is not None:
            raise NotServed(
                f"the engine does not list its models: {listed.failure}",
                hint="start it, or correct --engine-url and --engine-key",
            )
        return listed.contexts

    def _list(self) -> _Listed:
        found = list_models(self._client, timeout_s=_LIST_TIMEOUT_S)
        now_s = time.monotonic()
        if isinstance(found, Mapping):
            return _Listed(until_s=now_s + _LISTED_FOR_S, contexts=found)
        reason = "it has no list" if found is None else found.reason
        return _Listed(until_s=now_s + _FAILED_FOR_S, contexts={}, failure=reason)

    def place(self, model: EffectiveModel, environment: str) -> Placed:
        """A local model as the engine has it.

        An adapter is looked up as NAME@VERSION, and in its active version as NAME; a bare base by
        its name. An adapter that the engine lacks is never answered by its base. Raises NotListed
        for a model that the engine does not have, NotServed where it does not say, and what
        `resolve_configured` raises.
        """
        from modelyard.modelrefs.resolving import resolve_configured
        from modelyard.records.modelref import ModelRef

        ref = ModelRef("model", model.name)
        found = resolve_configured(self._project, ref, model, environment, 0)
        assert found.base is not None
        contexts, version = self.contexts(), found.version
        if version is None:
            wanted = [found.base]
        else:
            adapter = version.name.partition("@")[0]
            is_active = active_number(self._project, adapter) == version.number
            wanted = [version.name, *([adapter] if is_active else [])]
        name = next((each for each in wanted if each in contexts), None)
        if name is None:
            raise NotListed(wanted[0])
        is_exact = version is not None and name == version.name
        settings = self._settings(model.settings, name)
        room = min(settings.context_tokens, contexts[name] or settings.context_tokens)
        return Placed(
            model=replace(model, settings=replace(settings, context_tokens=room)),
            adapter_digest=version.manifest.digest if version and is_exact else None,
        )

    def computes(self, model: EffectiveModel) -> bool:
        """Whether it is a model that was placed here."""
        return model.settings.endpoint == self._engine.url

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
