"""The models that run here: a base in memory with the adapters that are asked for.

One thread for each base loads it and computes the steps of all answers, and whoever asks waits for
its own: so any number of threads may ask, their answers are computed in one batch, and ^C never
leaves a step half done. torch is imported by that thread, when the first local model is asked.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.configs.kinds.parts import Generation as GenerationSettings
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.providers.call import Call, CallFailure, FailureKind, OnText, Reply, Usage
from modelyard.records.modelref import ModelRef

if TYPE_CHECKING:  # a process that asks no local model does without all of these
    from modelyard.chatdata.template import ChatTokenizer
    from modelyard.inference.engine import Engine, LoadedModel
    from modelyard.inference.generation import Generation
    from modelyard.inference.sampling import Sampling
    from modelyard.modelrefs.local_model import LocalModel

T = TypeVar("T")
Note = Callable[[str], None]
"""Is told, in a sentence, what a person should know."""

_LONGEST_CLOSE_S = 10.0
_KEPT_TOKENIZERS = 16


class LocalModels:
    """The local models of one project; threads may share it.

    note: is told what a person should know of a model that is loaded.
    """

    def __init__(self, project: Project, *, note: Note = lambda _: None) -> None:
        self._project = project
        self._note = note
        self._lock = threading.Lock()
        self._threads: dict[tuple[Path, Path | None], _EngineThread] = {}
        """By the folder of a base, and of an adapter that needs an engine of its own."""
        self._checked: dict[tuple[str, str | None], LocalModel] = {}
        self._tokenizers: dict[Path, ChatTokenizer] = {}

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
            self._checked[key] = found
        return found

    def tokenizer(self, local: LocalModel) -> ChatTokenizer:
        """The tokenizer of a model, which knows how many tokens it gets; loads no weights."""
        from modelyard.chatdata.template import ChatTokenizer

        folder = local.version.path if local.version else local.base.path
        with self._lock:
            found = self._tokenizers.get(folder)
            if found is None:
                found = ChatTokenizer.load(folder)
                while len(self._tokenizers) >= _KEPT_TOKENIZERS:
                    del self._tokenizers[next(iter(self._tokenizers))]
                self._tokenizers[folder] = found
        return found

    def open(self, local: LocalModel, organisation: str | None) -> tuple[LocalProvider, float]:
        """What answers with a model, loaded if it was not, and the seconds that this took.

        organisation: whose turn in the batch its answers are, and whose prompts they may share the
        computed beginnings of. Raises what loading weights and adapters raises.
        """
        started, is_loaded = time.perf_counter(), True
        folder = local.version.path if local.version else None
        thread = self._thread(local, None)
        loaded = thread.loaded(folder)
        if loaded is None:
            from modelyard.inference.adapter_weights import AdapterNotCarried

            is_loaded = False
            try:
                loaded = thread.load(folder)
            except AdapterNotCarried:  # by the engine that is there: another engine may
                thread = self._thread(local, folder)
                loaded = thread.loaded(folder) or thread.load(folder)
        provider = LocalProvider(thread, loaded, local, organisation or "")
        return provider, 0.0 if is_loaded else time.perf_counter() - started

    def close(self) -> None:
        """Let the threads end, and the memory go; answers that are under way are cancelled."""
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
        for thread in threads:
            thread.close()

    def _thread(self, local: LocalModel, own: Path | None) -> _EngineThread:
        with self._lock:
            thread = self._threads.get((local.base.path, own))
            if thread is None or thread.failed:
                thread = _EngineThread(local, self._note)
                self._threads[local.base.path, own] = thread
        return thread


class _EngineThread:
    """An engine, and the thread in which it is loaded and computes."""

    def __init__(self, local: LocalModel, note: Note) -> None:
        self._local = local
        self._note = note
        self._engine: Engine | None = None
        self._loaded: dict[Path | None, LoadedModel] = {}
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closed = self._wanted = False
        self.failed = False
        """Whether the base could not be loaded."""
        self.stepped = threading.Condition()
        """Is notified after each step. It is held only for a moment, and never while computing."""
        self._thread = threading.Thread(target=self._run, name="modelyard-engine", daemon=True)
        self._thread.start()

    def loaded(self, adapter: Path | None) -> LoadedModel | None:
        """The base with the adapter in a folder, or without one, if it is in memory."""
        return self._loaded.get(adapter)

    def load(self, adapter: Path | None) -> LoadedModel:
        """The same, loaded if it was not."""
        return self._do(lambda: self._load(adapter))

    def submit(self, request: Any) -> Generation:
        """Begin an answer. Raises InvalidInput when it can never be computed, QueueFull."""
        self._require_open()
        assert self._engine is not None
        generation = self._engine.scheduler.submit(request)
        self._wake()
        return generation

    def close(self) -> None:
        self._closed = True
        self._wake()
        self._thread.join(_LONGEST_CLOSE_S)

    def _wake(self) -> None:
        """Let the thread look for work, now or as soon as it has none."""
        with self.stepped:
            self._wanted = True
            self.stepped.notify_all()

    def _require_open(self) -> None:
        if self._closed:
            raise ModelyardError("the local model was closed", hint="ask again")

    def _do(self, job: Callable[[], T]) -> T:
        """The result of something that is done in the thread, between two steps."""
        future: Future[T] = Future()
        self._require_open()
        self._jobs.append((job, future))
        self._wake()
        return future.result()

    def _load(self, adapter: Path | None) -> LoadedModel:
        """Runs in the thread."""
        if (found := self._loaded.get(adapter)) is not None:
            return found
        if self._engine is None:
            from modelyard.inference.open_model import open_model

            try:
                first = open_model(self._local, use_grid=True, note=self._note)
            except BaseException:
                self.failed = self._closed = True  # another thread tries it again
                raise
            self._engine = first.engine
            self._loaded[None] = first.engine.base
            own = self._local.version
            self._loaded[own.path if own else None] = first
        if adapter is not None and adapter not in self._loaded:
            self._loaded[adapter] = self._engine.load_adapter(adapter)
        return self._loaded[adapter]

    def _run(self) -> None:
        while not self._closed:
            while self._jobs:
                job, future = self._jobs.popleft()
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
            busy = self._step()
            with self.stepped:
                self.stepped.notify_all()
                if not (busy or self._wanted):
                    self.stepped.wait()
                self._wanted = False
        for _, future in self._jobs:
            future.set_exception(ModelyardError("the local model was closed", hint="ask again"))

    def _step(self) -> bool:
        """Compute one step; whether there is more to compute."""
        if self._engine is None:
            return False
        try:
            return self._engine.scheduler.step()
        except Exception:  # the answers that it was for have ended with an error that says so
            return True


@dataclass(frozen=True, slots=True, eq=False)
class LocalProvider:
    """A local model as a provider; threads may share it."""

    _thread: _EngineThread
    _loaded: LoadedModel
    local: LocalModel
    """The files that were loaded."""
    organisation: str
    """Whose turn its answers are; empty for nobody's."""

    @property
    def context_tokens(self) -> int:
        """The most tokens that a prompt and its answer may have together."""
        longest = self._loaded.engine.longest
        return min(longest, self.local.base.context_length() or longest)

    def send(self, call: Call, *, timeout_s: float, on_text: OnText | None) -> Reply | CallFailure:
        """Answer in the next steps of the engine; what the caller shows is never held back."""
        from modelyard.chatdata.template import TemplateRefused

        try:
            prompt = self._loaded.tokenizer.encode_prompt(call.messages)
        except TemplateRefused as error:
            return _failure("broken", error.message, Usage(input_tokens=0, output_tokens=0))
        room = self.context_tokens - len(prompt)
        if room < 1:
            reason = f"the prompt has {len(prompt):,} tokens, of {self.context_tokens:,}"
            return _failure("too_long", reason, Usage(input_tokens=0, output_tokens=0))
        sampling = _sampling(call.generation, room)
        request = self._loaded.request(prompt, sampling, use_prefix_cache=call.use_prefix_cache)
        request = replace(request, organisation=self.organisation)
        try:
            generation = self._thread.submit(request)
        except InvalidInput as error:
            return _failure("too_long", error.message, Usage(input_tokens=0, output_tokens=0))
        except ModelyardError as error:  # QueueFull
            return _failure("busy", error.message, None, is_temporary=True)
        try:
            return self._wait(generation, time.perf_counter() + timeout_s, on_text)
        finally:
            generation.cancel()

    def _wait(
        self, generation: Generation, until_s: float, on_text: OnText | None
    ) -> Reply | CallFailure:
        stepped, pieces = self._thread.stepped, []
        while True:
            with stepped:
                while (
                    not (piece := generation.take_text())
                    and generation.finish is None
                    and (left_s := until_s - time.perf_counter()) > 0
                ):
                    stepped.wait(min(left_s, threading.TIMEOUT_MAX))
            if piece:
                pieces.append(piece)
                if on_text is not None:
                    on_text(piece)
                continue
            usage = Usage(
                input_tokens=len(generation.request.prompt),
                output_tokens=len(generation.tokens),
                cached_input_tokens=generation.cached_tokens,
            )
            if generation.finish in ("stop", "length"):
                finish: Any = generation.finish
                return Reply(text="".join(pieces), finish=finish, usage=usage)
            if generation.error is not None:
                return _failure("broken", generation.error.message, usage)
            return _failure("timeout", "the answer took too long", usage)


def _failure(
    kind: FailureKind, reason: str, usage: Usage | None, *, is_temporary: bool = False
) -> CallFailure:
    return CallFailure(kind=kind, reason=reason, is_temporary=is_temporary, usage=usage)


def _sampling(settings: GenerationSettings, room: int) -> Sampling:
    from modelyard.inference.sampling import Sampling

    return Sampling(
        max_new_tokens=min(settings.max_output_tokens or room, room),
        temperature=settings.temperature or 0.0,
        top_p=1.0 if settings.top_p is None else settings.top_p,
        stop=tuple(stop for stop in settings.stop or () if stop),
        seed=secrets.randbelow(2**31) if settings.seed is None else settings.seed,
    )
