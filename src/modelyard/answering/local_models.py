"""The models that run here: a base in memory with the adapters that are asked for.

One thread for each base loads it and computes the steps of all answers, and whoever asks waits for
its own: so any number of threads may ask, their answers are computed in one batch, and ^C never
leaves a step half done. torch is imported by that thread, when the first local model is asked.

What is asked for by name is the version that is active now. When that is another one than before,
the former is dropped as soon as its answers have ended: nothing grows with promotions.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.answering.engine_thread import EngineThread, Note
from modelyard.answering.local_provider import LocalProvider
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.inference.engine_limits import BatchShare, EngineFigures, EngineLimits
from modelyard.records.modelref import ModelRef

if TYPE_CHECKING:  # a process that asks no local model does without all of these
    from modelyard.chatdata.shared_tokenizers import SharedTokenizers
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.inference.engine import LoadedModel
    from modelyard.modelrefs.local_model import LocalModel

_Asked = tuple[str, str, str | None]
"""Environment, base, and what was asked for on it: NAME or NAME@VERSION."""
_Key = tuple[str, str | None]
"""A base, and the digest of an adapter's version."""

_REMEMBERED = 1024
"""Names whose versions are remembered; the one that was asked longest ago is dropped."""


class LocalModels:
    """The local models of one project; threads may share it.

    note: is told what a person should know of a model that is loaded.
    """

    def __init__(
        self,
        project: Project,
        *,
        note: Note = lambda _: None,
        limits: EngineLimits = EngineLimits(),  # noqa: B008 (frozen)
    ) -> None:
        self._project = project
        self._note, self._limits = note, limits
        self._lock = threading.Lock()
        self._threads: dict[tuple[Path, Path | None], EngineThread] = {}
        """By the folder of a base, and of an adapter that needs an engine of its own."""
        self._active: OrderedDict[_Asked, _Key] = OrderedDict()
        """What was found for each name when it was last asked for."""
        self._checked: dict[_Key, LocalModel] = {}
        self._tokenizers: dict[Path, ChatTokenizer] = {}
        self._shared: SharedTokenizers | None = None

    def find(self, model: EffectiveModel, environment: str) -> LocalModel:
        """The files of a local model: its base, and the version of its adapter that is active now.

        They are checked when they are first seen. Nothing is fetched: raises BaseUnavailable for a
        base that is not here, and what `resolve_configured` and `check_adapter_files` raise.
        """
        from modelyard.modelrefs.local_model import require_model
        from modelyard.modelrefs.resolving import resolve_configured

        ref = ModelRef("model", model.name)
        resolved = resolve_configured(self._project, ref, model, environment, 0)
        assert resolved.base is not None
        key = resolved.base, resolved.version.manifest.digest if resolved.version else None
        found = self._checked.get(key)
        if found is None:
            found = require_model(self._project, resolved, progress=Silent(), offline=True)
        self._remember((environment, resolved.base, model.settings.adapter), key, found)
        return found

    def tokenizer(self, local: LocalModel) -> ChatTokenizer:
        """The tokenizer of a model, which knows how many tokens it gets; loads no weights."""
        folder = local.version.path if local.version else local.base.path
        found = self._tokenizers.get(folder)
        if found is None:
            from modelyard.chatdata.shared_tokenizers import SharedTokenizers

            with self._lock:
                if self._shared is None:
                    self._shared = SharedTokenizers()
            found = self._tokenizers.setdefault(folder, self._shared.load(folder))
        return found

    def open(
        self, local: LocalModel, organisation: str | None, share: BatchShare | None = None
    ) -> tuple[LocalProvider, float]:
        """What answers with a model, loaded if it was not, and the seconds that this took.

        organisation: whose turn in the batch its answers are, and whose prompts they may share the
        computed beginnings of. share: how many answers like these are computed at once.
        Raises what loading weights and adapters raises.
        """
        started = time.perf_counter()
        for thread in self._threads_for(local):
            if (loaded := thread.loaded(local)) is not None:
                return LocalProvider(thread, loaded, local, organisation or "", share), 0.0
        thread, loaded = self._load(local)
        provider = LocalProvider(thread, loaded, local, organisation or "", share)
        return provider, time.perf_counter() - started

    def figures(self) -> EngineFigures:
        """What the engines do and hold now."""
        with self._lock:
            threads = list(self._threads.values())
        found = [thread.figures() for thread in threads]
        return EngineFigures(bases=tuple(base for base in found if base is not None))

    def close(self) -> None:
        """Let the threads end, and the memory go; answers that are under way fail."""
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
        for thread in threads:
            thread.close()

    def _load(self, local: LocalModel) -> tuple[EngineThread, LoadedModel]:
        tokenizer = self.tokenizer(local)
        thread = self._thread(local, own=False)
        try:
            return thread, thread.load(local, tokenizer)
        except ModelyardError as error:
            if not _needs_own_engine(error):
                raise
        thread = self._thread(local, own=True)
        return thread, thread.load(local, tokenizer)

    def _threads_for(self, local: LocalModel) -> list[EngineThread]:
        """Those that may have it in memory."""
        places = dict.fromkeys(((local.base.path, None), (local.base.path, _folder(local))))
        with self._lock:
            return [self._threads[place] for place in places if place in self._threads]

    def _thread(self, local: LocalModel, *, own: bool) -> EngineThread:
        place = local.base.path, _folder(local) if own else None
        with self._lock:
            thread = self._threads.get(place)
            if thread is None or thread.failed:
                thread = EngineThread(local, own=own, limits=self._limits, note=self._note)
                self._threads[place] = thread
        return thread

    def _remember(self, asked: _Asked, key: _Key, local: LocalModel) -> None:
        """Say what was found for a name; what no name stands for any more is dropped."""
        with self._lock:
            self._checked[key] = local
            former = self._active.pop(asked, None)
            self._active[asked] = key
            left = [former] if former is not None and former != key else []
            if len(self._active) > _REMEMBERED:
                left.append(self._active.popitem(last=False)[1])
            unused = set(left) - set(self._active.values())
            for each in unused:
                self._checked.pop(each, None)
        if unused:
            self._drop_unused()

    def _drop_unused(self) -> None:
        """Give up what is in memory of versions that no name stands for, after their answers."""
        with self._lock:
            kept = {folder for each in self._checked.values() if (folder := _folder(each))}
            bases = {base for base, _ in self._threads}
            for folder in [each for each in tuple(self._tokenizers) if each not in kept | bases]:
                self._tokenizers.pop(folder, None)
            own = [place for place in self._threads if place[1] and place[1] not in kept]
            unused = [self._threads.pop(place) for place in own]
            threads = list(self._threads.values())
        for thread in unused:
            thread.finish()
        for thread in threads:
            thread.keep_only(kept)


def _folder(local: LocalModel) -> Path | None:
    """Of the adapter's version; None for a bare base."""
    return local.version.path if local.version else None


def _needs_own_engine(error: ModelyardError) -> bool:
    """Whether an adapter is of a kind that its base's engine does not compute."""
    from modelyard.inference.adapter_weights import AdapterNotCarried

    return isinstance(error, AdapterNotCarried)
