"""The model that answers `models generate`: in memory, with a record of each of its answers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelyard.chatdata.dialogue import Dialogue
from modelyard.cli.render import print_note, print_warning
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.inference.sampling import Sampling

if TYPE_CHECKING:
    from modelyard.inference.engine import AnswerStream, LoadedModel
    from modelyard.modelrefs.local_model import LocalModel
    from modelyard.modelrefs.resolving import ResolvedModel
    from modelyard.records.spool import Recorder


@dataclass(slots=True, kw_only=True)
class Reply:
    """One answer while it is given."""

    pieces: Generator[str, None, None]
    """Its text, piece by piece; close it when the rest is not wanted."""
    stream: AnswerStream
    """How far it is."""
    limit: int
    """The most tokens it can have."""
    limited_by_context: bool
    """Whether that is what the context leaves, and not what was asked for."""

    @property
    def cut_off(self) -> bool:
        """Whether the model did not come to an end of its own."""
        return not self.stream.ended

    def note_if_cut_off(self) -> None:
        """Say on stderr that the answer has no end, and why."""
        if not self.cut_off:
            return
        tokens = counted(self.limit, "token")
        if self.limited_by_context:
            print_note(f"cut off after {tokens}: the context is full")
        else:
            print_note(f"cut off after {tokens}: --max-tokens allows longer answers")


@dataclass(slots=True, kw_only=True)
class Speaker:
    """A model in memory. Its adapter can be left out, to hear the base."""

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
