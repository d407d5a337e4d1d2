"""What answers `models generate`, such as a model in memory, which records each of its answers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modelyard.chatdata.dialogue import Dialogue, Turns
from modelyard.cli.chat import Said, Show
from modelyard.cli.render import print_warning
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.inference.sampling import Sampling

if TYPE_CHECKING:
    from modelyard.inference.engine import LoadedModel
    from modelyard.modelrefs.local_model import LocalModel
    from modelyard.modelrefs.resolving import ResolvedModel
    from modelyard.records.spool import Recorder


T = TypeVar("T", bound=Turns)


class Stream(Protocol):
    """How far an answer is."""

    @property
    def ended(self) -> bool:
        """Whether the model came to an end of its own."""

    def interrupt(self) -> None:
        """Let the pieces end by KeyboardInterrupt; a signal handler calls it."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """One answer while it is given."""

    pieces: Generator[str, None, None]
    """Its text, piece by piece; close it when the rest is not wanted."""
    stream: Stream
    """How far it is."""
    limit: int
    """The most tokens it can have; for sure when the pieces have ended."""
    limited_by_context: bool
    """Whether that is what the context leaves, and not what was asked for; sure at that time too.
    """

    @property
    def cut_off(self) -> bool:
        """Whether the model did not come to an end of its own."""
        return not self.stream.ended

    @property
    def notes(self) -> tuple[str, ...]:
        """That the answer has no end, and why; nothing for one that has."""
        if not self.cut_off:
            return ()
        why = "the context is full"
        if not self.limited_by_context:
            why = "--max-tokens allows longer answers"
        return (f"cut off after {counted(self.limit, 'token')}: {why}",)


class Speaking(Protocol[T]):
    """A model that answers, in this process or in a service."""

    @property
    def name(self) -> str:
        """What answers, as people write it: the version of an adapter, else the base."""

    @property
    def base_name(self) -> str:
        """What answers without the adapter."""

    def dialogue(self, system: str | None) -> T:
        """A new conversation with this model."""

    def answer(
        self, dialogue: T, question: str, sampling: Sampling, *, as_base: bool = False
    ) -> Reply:
        """The answer to a question after all that was said before; as_base: without the adapter.

        Raises InvalidInput for what the model cannot take, here or with the first piece.
        """


@dataclass(slots=True, kw_only=True)
class Speaker:
    """A model in memory (`Speaking`). Its adapter can be left out, to hear the base."""

    loaded: LoadedModel
    """The base with the adapter."""
    local: LocalModel
    """The files that were loaded."""
    chosen: ResolvedModel
    """How it was named."""
    recorder: Recorder
    """Where answers are recorded."""
    load_s: float
    """Seconds that loading took, for the first answer's record; 0 after it."""

    @property
    def name(self) -> str:
        """What answers."""
        return self.local.name

    @property
    def base_name(self) -> str:
        """What answers without the adapter."""
        return self.local.base.name

    def dialogue(self, system: str | None) -> Dialogue:
        """A new conversation with this model."""
        longest = self.loaded.engine.longest
        return Dialogue(
            tokenizer=self.loaded.tokenizer,
            context_length=min(self.local.base.context_length() or longest, longest),
            system=system,
        )

    def answer(
        self, dialogue: Dialogue, question: str, sampling: Sampling, *, as_base: bool = False
    ) -> Reply:
        """The answer to a question, which goes no further than the context allows.

        It is recorded when its pieces end. Raises what `Dialogue.encode` raises.
        """
        from modelyard.modelrefs.local_model import LocalModel
        from modelyard.monitoring.recording import record_answer

        speaking = LocalModel(base=self.local.base) if as_base else self.local
        prompt = dialogue.encode(question)
        limit = min(sampling.max_new_tokens, dialogue.room(prompt))
        loaded = self.loaded.without_adapter if as_base else self.loaded
        stream = loaded.stream(prompt, replace(sampling, max_new_tokens=limit))
        pieces = record_answer(
            stream,
            self.recorder,
            model=str(speaking.ref),
            adapter_digest=speaking.version.manifest.digest if speaking.version else None,
            prompt_tokens=len(prompt),
            load_s=self.load_s,
            domain=self.chosen.ref.name if self.chosen.ref.kind == "domain" else None,
            environment=self.chosen.environment,
            config_revision=self.chosen.config_revision,
        )
        self.load_s = 0.0
        return Reply(
            pieces=pieces,
            stream=stream,
            limit=limit,
            limited_by_context=limit < sampling.max_new_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """One answer of a conversation."""

    turn: int
    """Which question of the conversation it answers, from 1; /reset begins at 1 again."""
    model: str
    """The base, or the version of an adapter."""
    prompt: str
    """What was asked."""
    answer: str
    """The answer; the next one follows from it."""
    cut_off: bool
    """Whether it was stopped before the model ended it."""


class Conversation:
    """A talk with a speaker (`cli.chat.Talk`)."""

    survived: tuple[type[ModelyardError], ...] = ()

    def __init__(self, speaker: Speaking[Any], system: str | None, sampling: Sampling) -> None:
        self.name = speaker.name
        self._speaker, self._sampling = speaker, sampling
        self._dialogue: Turns = speaker.dialogue(system)
        self._stream: Stream | None = None

    def answer(self, question: str, show: Show) -> Said:
        self._stream = None
        reply = self._speaker.answer(self._dialogue, question, self._sampling)
        self._stream = reply.stream
        text = ""
        with closing(reply.pieces) as pieces:
            for piece in pieces:
                text += piece
                show(piece)
        result = ChatAnswer(
            turn=len(self._dialogue.turns) // 2 + 1,
            model=self.name,
            prompt=question,
            answer=text.strip(),
            cut_off=reply.cut_off,
        )
        return Said(text=text, result=result, notes=reply.notes)

    def interrupt(self) -> None:
        if self._stream is None:
            raise KeyboardInterrupt  # it has not begun
        self._stream.interrupt()

    def add(self, question: str, answer: str) -> None:
        self._dialogue.add(question, answer)

    def reset(self) -> None:
        self._dialogue.reset()


@contextmanager
def open_speaker(project: Project, chosen: ResolvedModel, local: LocalModel) -> Iterator[Speaker]:
    """Load a model; in the end, say when answers could not be recorded."""
    from modelyard.inference.open_model import open_model
    from modelyard.records.spool import Recorder

    recorder, started = Recorder(project), time.perf_counter()
    loaded = open_model(local, use_grid=True, note=print_warning)
    load_s = time.perf_counter() - started
    try:
        yield Speaker(loaded=loaded, local=local, chosen=chosen, recorder=recorder, load_s=load_s)
    finally:
        recorder.close()
        if recorder.problem:
            print_warning(f"not in the records of answers: {recorder.problem}")
