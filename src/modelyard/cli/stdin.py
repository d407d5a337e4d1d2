"""What a command reads from stdin: a text, a line that somebody types, rows from a pipe, a yes."""

from __future__ import annotations

import sys

from modelyard.core.errors import InvalidInput
from modelyard.core.wording import visible_text


def read_stdin(most_characters: int, refusal: str = "is not UTF-8 text") -> str:
    """The text on stdin, or its beginning. Raises InvalidInput, saying `refusal`, for no text."""
    try:
        text = sys.stdin.read(most_characters)
        text.encode()  # in the C locale, bytes that are no text are read as lone surrogates
    except UnicodeError as error:
        raise InvalidInput(refusal, where="stdin") from error
    return text


def reads_terminal() -> bool:
    """Whether somebody types what this program reads."""
    return sys.stdin.isatty()


def read_line(marker: str, most_characters: int) -> str | None:
    """The next line of stdin without its end, None when there is none; typed lines can be edited.

    The marker is shown where somebody types. Raises InvalidInput when the line is longer, or is
    not UTF-8 text.
    """
    try:
        if reads_terminal() and sys.stdout.isatty():
            import readline  # noqa: F401 (gives input() the keys of a shell, and its history)

            line = input(marker)
        else:
            if reads_terminal():
                sys.stderr.write(marker)
                sys.stderr.flush()
            line = sys.stdin.readline(most_characters + 2)
            if not line:
                return None
        line.encode()
    except EOFError:
        sys.stderr.write("\n")
        return None
    except UnicodeError as error:
        raise InvalidInput("the line is not UTF-8 text", where="stdin") from error
    line = line.removesuffix("\n").removesuffix("\r")
    if len(line) > most_characters:
        raise InvalidInput(f"the line is longer than {most_characters:,} characters", where="stdin")
    return line


def read_piped(what: str = "rows", most_bytes: int = -1) -> bytes:
    """All bytes on stdin, or its beginning.

    Raises InvalidInput when it is a terminal, where nothing is piped.
    """
    if sys.stdin.isatty():
        raise InvalidInput(f"is a terminal; pipe {what} into the command", where="stdin")
    return sys.stdin.buffer.read(most_bytes)


def ask_yes(question: str) -> bool:
    """Ask on stderr and read the answer from stdin; only `y` or `yes` confirms."""
    sys.stderr.write(f"{visible_text(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
