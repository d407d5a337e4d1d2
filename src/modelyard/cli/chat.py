"""Conversations: typed on a terminal, or read from a pipe by line. Who answers is a `Talk`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from modelyard.cli.render import StreamPrinter, print_error, print_json, print_note
from modelyard.cli.stdin import read_line, read_stdin, reads_terminal
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LONGEST_PROMPT = 1_000_000
_MARKER = "> "
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_COMMANDS = {
    "/help": "list these commands",
    "/reset": "begin a new conversation, with the same system turn",
    "/exit": "end; so does ^D",
}
_MORE_HELP = "^C stops an answer. A line that begins with // is asked with one of them."

Show = Callable[[str], None]
"""Is given each piece of an answer as it comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer of a conversation that came to its end."""

    text: str
    """It, as the conversation goes on from it."""
    result: DataclassInstance
    """What `--json` prints of it."""
    notes: tuple[str, ...] = ()
    """What a person is told after it."""


class Talk(Protocol):
    """Somebody who answers, and remembers what was said."""

    @property
    def name(self) -> str:
        """Who answers."""

    @property
    def survived(self) -> tuple[type[ModelyardError], ...]:
        """Errors of an answer after which a conversation on a terminal goes on."""

    def answer(self, question: str, show: Show) -> Said:
        """Answer a question after all that was said before."""

    def interrupt(self) -> None:
        """Let `answer` end by KeyboardInterrupt as soon as it can; a signal handler calls it."""

    def add(self, question: str, answer: str) -> None:
        """Go on from this answer."""

    def reset(self) -> None:
        """Forget all that was said."""


def read_question(given: str | None, *, command: str, is_chat: bool) -> str | None:
    """What is asked, from the command line or, for `-`, from stdin.

    None when a conversation begins with what is typed.
    """
    if is_chat and given is None:
        return None
    if is_chat and given == "-":
        raise InvalidInput(
            "`-` and --chat both read stdin", hint="leave `-` out: each line is a question"
        )
    text = given or ""
    if given == "-":
        text = read_stdin(LONGEST_PROMPT + 1, "the question is not UTF-8 text")
    if len(text) > LONGEST_PROMPT:
        raise InvalidInput(f"the question is longer than {LONGEST_PROMPT:,} characters")
    if not text.strip():
        raise InvalidInput(
            "there is no question" if given is None else "the question is empty",
            hint=f'{command} "Your question", or --chat for a conversation',
        )
    return text.strip()


def chat(talk: Talk, *, first: str | None = None, as_json: bool = False) -> None:
    """Answer `first` and then each line of stdin, until it ends or says /exit.

    On a terminal, what is wrong with a line is said, and the conversation goes on. In a pipe it
    ends the conversation, as ^C does.
    """
    interruptions = _Interruptions() if reads_terminal() else None
    running = _Chat(talk, as_json, interruptions)
    if interruptions is None:
        running.run(first)
        return
    print_note(f"{talk.name} · /help lists commands, /exit ends")
    with interruptions.told_apart():
        running.run(first)


class _Interruptions:
    """^C on a terminal, which stops an answer, and SIGTERM, which ends the command.

    A second ^C, while the answer has not stopped yet, ends the command too.
    """

    ends_all = False
    """Whether the last KeyboardInterrupt ends the command."""
    _talk: Talk | None = None
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
    def stopping(self, talk: Talk) -> Iterator[None]:
        """Let ^C stop the answer that is being given."""
        self._talk, self._is_stopping = talk, False
        try:
            yield
        finally:
            self._talk = None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._talk is not None and not self._is_stopping:
            self._is_stopping = True
            self._talk.interrupt()
            return
        self.ends_all = number == signal.SIGTERM or self._talk is not None
        raise KeyboardInterrupt


@dataclass(slots=True)
class _Chat:
    talk: Talk
    as_json: bool
    interruptions: _Interruptions | None
    """None where nobody types."""

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
        survived: tuple[type[ModelyardError], ...] = (InvalidInput, *self.talk.survived)
        try:
            if line is None:
                line = read_line(_MARKER, LONGEST_PROMPT)
            if line is None:
                return False
            text = line.strip()
            return not text or self._take(text)
        except survived as error:
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
        first, _, more = text.partition(" ")
        if more.strip() and first in _COMMANDS:
            raise InvalidInput(
                f"{first} stands alone on its line", hint="begin the line with // to ask it"
            )
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
            self.talk.reset()
            print_note("a new conversation")
        return command != "/exit"

    def _answer(self, question: str) -> None:
        """Answer a question, and go on from what was said until the end or until ^C."""
        printer = StreamPrinter(silent=self.as_json)
        stoppable = self.interruptions.stopping(self.talk) if self.interruptions else None
        try:
            with stoppable or nullcontext():
                said = self.talk.answer(question, printer.show)
        except KeyboardInterrupt:
            if not self._survives:
                raise
            print_note("\nstopped")
            if printer.shown.strip():
                self.talk.add(question, printer.shown)
            return
        except ModelyardError:
            if printer.shown:
                printer.end()
            raise
        printer.end()
        self.talk.add(question, said.text)
        if self.as_json:
            print_json(said.result, indent=None)
        for note in () if self.as_json else said.notes:
            print_note(note)
