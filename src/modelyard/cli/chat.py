"""`models generate --chat`: a conversation, typed on a terminal, or read from a pipe by line."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from modelyard.cli.render import (
    print_error,
    print_json,
    print_note,
    print_stream,
    read_line,
    reads_terminal,
)
from modelyard.core.errors import InvalidInput, did_you_mean

if TYPE_CHECKING:
    from modelyard.chatdata.dialogue import Dialogue
    from modelyard.cli.speaker import Reply, Speaker
    from modelyard.inference.engine import AnswerStream
    from modelyard.inference.sampling import Sampling

LONGEST_PROMPT = 1_000_000
_MARKER = "> "
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_COMMANDS = {
    "/help": "list these commands",
    "/reset": "begin a new conversation, with the same system turn",
    "/exit": "end; so does ^D",
}
_MORE_HELP = "^C stops an answer. A line that begins with // is asked, from its second slash on."


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


def chat(
    speaker: Speaker,
    dialogue: Dialogue,
    sampling: Sampling,
    *,
    first: str | None = None,
    as_json: bool = False,
) -> None:
    """Answer `first` and then each line of stdin, until it ends or says /exit.

    On a terminal, what is wrong with a line is said, and the conversation goes on. In a pipe it
    ends the conversation, as ^C does.
    """
    interruptions = _Interruptions() if reads_terminal() else None
    talk = _Chat(speaker, dialogue, sampling, as_json, interruptions)
    if interruptions is None:
        talk.run(first)
        return
    print_note(f"{speaker.local.name} · /help lists commands, /exit ends")
    with interruptions.told_apart():
        talk.run(first)


class _Interruptions:
    """^C on a terminal, which stops an answer, and SIGTERM, which ends the command.

    A second ^C, while the answer has not stopped yet, ends the command too.
    """

    ends_all = False
    """Whether the last KeyboardInterrupt ends the command."""
    _answer: AnswerStream | None = None
    _is_stopping = False

    @contextmanager
    def told_apart(self) -> Iterator[None]:
        """Handle both here."""
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def stopping(self, answer: AnswerStream) -> Iterator[None]:
        """Let ^C stop this answer."""
        self._answer, self._is_stopping = answer, False
        try:
            yield
        finally:
            self._answer = None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._answer is not None and not self._is_stopping:
            self._is_stopping = True
            self._answer.interrupt()
            return
        self.ends_all = number == signal.SIGTERM or self._answer is not None
        raise KeyboardInterrupt


@dataclass(slots=True)
class _Chat:
    speaker: Speaker
    dialogue: Dialogue
    sampling: Sampling
    as_json: bool
    interruptions: _Interruptions | None
    """None where nobody types."""
    turn: int = 0
    """Answers since the conversation began."""

    def run(self, line: str | None) -> None:
        """Take this line and all that follow."""
        going_on = True
        while going_on:
            given, line = line, None
            try:
                going_on = self._take_line(given)
            except KeyboardInterrupt:
                if not self._survives:
                    raise
                print_note("\n/exit or ^D ends the conversation")

    def _take_line(self, line: str | None) -> bool:
        """Take this line, or the next one; on a terminal, say what is wrong with it.

        False when the conversation ends.
        """
        try:
            if line is None:
                line = read_line(_MARKER, LONGEST_PROMPT)
            if line is None:
                return False
            text = line.strip()
            return not text or self._take(text)
        except InvalidInput as error:
            if self.interruptions is None:
                raise
            print_error(error)
            return True

    @property
    def _survives(self) -> bool:
        """Whether the conversation goes on after a KeyboardInterrupt."""
        return self.interruptions is not None and not self.interruptions.ends_all

    def _take(self, text: str) -> bool:
        """Obey a command, or answer. False when the conversation ends."""
        if text.startswith("/") and text[1:].isalpha():
            return self._obey(text)
        self._answer(text[1:] if text.startswith("//") else text)
        return True

    def _obey(self, command: str) -> bool:
        if command not in _COMMANDS:
            raise InvalidInput(
                f"there is no command {command}{did_you_mean(command, tuple(_COMMANDS))}",
                hint=f"there are {', '.join(_COMMANDS)}; begin the line with // to ask it",
            )
        if command == "/help":
            for name, does in _COMMANDS.items():
                print_note(f"{name:8}{does}")
            print_note(_MORE_HELP)
        elif command == "/reset":
            self.dialogue.reset()
            self.turn = 0
            print_note("a new conversation")
        return command != "/exit"

    def _answer(self, question: str) -> None:
        """Answer a question, and go on from what was said until the end or until ^C."""
        reply = self.speaker.answer(self.dialogue, question, self.sampling)
        said: list[str] = []
        stoppable = self.interruptions.stopping(reply.stream) if self.interruptions else None
        try:
            with stoppable or nullcontext(), closing(_kept(reply.pieces, said)) as pieces:
                if self.as_json:
                    for _ in pieces:
                        pass
                else:
                    print_stream(pieces)
            stopped = False
        except KeyboardInterrupt:
            if not self._survives:
                raise
            stopped = True
        self._conclude(question, "".join(said), reply, stopped)

    def _conclude(self, question: str, answer: str, reply: Reply, stopped: bool) -> None:
        if stopped:
            print_note("\nstopped")
            if not answer.strip():
                return
        self.dialogue.add(question, answer)
        self.turn += 1
        if self.as_json:
            print_json(
                ChatAnswer(
                    turn=self.turn,
                    model=self.speaker.local.name,
                    prompt=question,
                    answer=answer.strip(),
                    cut_off=reply.cut_off,
                ),
                indent=None,
            )
        elif not stopped:
            reply.note_if_cut_off()


def _kept(pieces: Generator[str, None, None], said: list[str]) -> Generator[str, None, None]:
    """The pieces as they come, which are also put into `said`."""
    with closing(pieces):
        for piece in pieces:
            said.append(piece)
            yield piece
