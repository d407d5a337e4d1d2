"""An engine, and the thread in which it is loaded and computes the steps of all answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.core.errors import ModelyardError
from modelyard.inference.engine_limits import AdapterInMemory, BaseInMemory, EngineLimits

if TYPE_CHECKING:  # a process that asks no local model does without all of these
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.inference.engine import Engine, LoadedModel
    from modelyard.inference.generation import Generation, Request
    from modelyard.inference.grammar import Grammars
    from modelyard.modelrefs.local_model import LocalModel

T = TypeVar("T")
Note = Callable[[str], None]
"""Is told, in a sentence, what a person should know."""

_LONGEST_CLOSE_S = 10.0
_LAST_WAIT_S = 1.0
"""How long an engine that is not needed any more waits for who has just found it."""


@dataclass(frozen=True, slots=True)
class _Adapter:
    """An adapter that was loaded, and whose files it is."""

    local: LocalModel
    loaded: LoadedModel


class EngineThread:
    """The engine of one base; torch is imported by its thread, when the base is first loaded.

    own: whether it is for the adapter of `local` alone, which the engine of all others does not
        compute.
    """

    def __init__(self, local: LocalModel, *, own: bool, limits: EngineLimits, note: Note) -> None:
        self._first = local if own else replace(local, version=None)
        self._limits, self._note = limits, note
        self._engine: Engine | None = None
        self._adapters: dict[Path, _Adapter] = {}
        """By the folder of the version."""
        self._loading = threading.Lock()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed = self._finishing = False
        self._wanted = threading.Event()
        """Is set when there may be work."""
        self.grammars: Grammars | None = None
        """What holds answers to a form; None while the base is not loaded."""
        self.failed = False
        """Whether the base could not be loaded."""
        self._thread = threading.Thread(target=self._run, name="modelyard-engine", daemon=True)
        self._thread.start()

    def loaded(self, local: LocalModel) -> LoadedModel | None:
        """The base with the adapter of a model, or without one, if it is in memory."""
        if self._engine is None:
            return None
        if local.version is None:
            return self._engine.base
        found = self._adapters.get(local.version.path)
        return found.loaded if found else None

    def load(self, local: LocalModel, tokenizer: ChatTokenizer) -> LoadedModel:
        """The same, loaded if it was not; other answers are computed meanwhile.

        Raises what loading weights and adapters raises.
        """
        if self._engine is None:
            self._do(self._open)
        if (found := self.loaded(local)) is not None:
            return found
        engine, version = self._engine, local.version
        assert engine is not None
        assert version is not None
        with self._loading:
            if version.path not in self._adapters:
                loaded = engine.load_adapter(version.path, tokenizer)
                self._adapters[version.path] = _Adapter(local, loaded)
            return self._adapters[version.path].loaded

    def submit(self, request: Request) -> Generation:
        """Begin an answer. Raises InvalidInput when it can never be computed, QueueFull.

        An adapter that had to make room is read again first, by the thread that asks: the steps of
        others go on. Raises what that raises.
        """
        self._require_open()
        assert self._engine is not None
        if request.adapter is not None:
            self._engine.decoder.bank.fetch(request.adapter)
        generation = self._engine.scheduler.submit(request)
        self._wanted.set()
        return generation

    def keep_only(self, folders: Set[Path]) -> None:
        """Drop adapters of other folders, each as soon as the answers that use it have ended."""
        with self._loading:
            left = [self._adapters.pop(each) for each in self._adapters.keys() - folders]
        for found in left:
            if found.loaded.adapter is not None and self._engine is not None:
                self._engine.scheduler.retire(found.loaded.adapter)
                self._wanted.set()

    def figures(self) -> BaseInMemory | None:
        """What it does and holds now; None while its base is not loaded."""
        if self._engine is None:
            return None
        scheduler, decoder = self._engine.scheduler, self._engine.decoder
        slots = decoder.bank.held()
        return BaseInMemory(
            name=self._first.base.name,
            running=scheduler.running,
            waiting=scheduler.waiting,
            adapters=tuple(
                AdapterInMemory(
                    name=each.local.name,
                    digest=each.local.version.manifest.digest,
                    organisation=each.local.version.manifest.org,
                    size_bytes=each.loaded.adapter.size_bytes,
                    slot=slots[each.loaded.adapter.digest],
                )
                for each in list(self._adapters.values())
                if each.local.version and each.loaded.adapter
                if each.loaded.adapter.digest in slots
            ),
            loads=decoder.bank.loads,
            evictions=decoder.bank.evictions,
            input_tokens=scheduler.input_tokens,
            output_tokens=scheduler.output_tokens,
            kv_bytes=decoder.kv.size_bytes,
            prefix_cache_bytes=scheduler.prefix_cache_bytes,
        )

    def finish(self) -> None:
        """End soon after the last answer has; returns at once."""
        self._finishing = True
        self._wanted.set()

    def close(self) -> None:
        """End now; answers that are under way fail."""
        self._closed = True
        self._wanted.set()
        self._thread.join(_LONGEST_CLOSE_S)

    def _require_open(self) -> None:
        if self._closed:
            raise ModelyardError("the local model was closed", hint="ask again")

    def _do(self, job: Callable[[], T]) -> T:
        """The result of something that is done in the thread, between two steps."""
        future: Future[T] = Future()
        self._require_open()
        self._jobs.append((job, future))
        self._wanted.set()
        return future.result()

    def _open(self) -> None:
        """Load the base; runs in the thread."""
        if self._engine is not None:
            return
        from modelyard.inference.grammar import Grammars
        from modelyard.inference.open_model import open_model

        try:
            first = open_model(self._first, use_grid=True, limits=self._limits, note=self._note)
        except BaseException:
            self.failed = self._closed = True  # another thread tries it again
            raise
        if self._first.version is not None:
            self._adapters[self._first.version.path] = _Adapter(self._first, first)
        self.grammars = Grammars()
        self._engine = first.engine

    def _run(self) -> None:
        while not self._closed:
            self._wanted.clear()
            while self._jobs:
                job, future = self._jobs.popleft()
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
            if self._step():
                continue
            if not self._wanted.wait(_LAST_WAIT_S if self._finishing else None):
                break
        self._closed = True
        closed = ModelyardError("the local model was closed", hint="ask again")
        for _, future in self._jobs:
            future.set_exception(closed)
        if self._engine is not None:
            self._engine.scheduler.end_all(closed)

    def _step(self) -> bool:
        """Compute one step; whether there is more to compute."""
        if self._engine is None:
            return False
        try:
            return self._engine.scheduler.step()
        except Exception:  # the answers that it was for have ended with an error that says so
            return True
