"""What can go wrong, as one family: every expected failure is a `ModelyardError`.

An error says what happened, where, and what to do next. Its class decides the exit code; the table
is printed by `models --help`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache


class ModelyardError(Exception):
    """The thing asked for failed (exit code 1)."""

    exit_code = 1
    problems: tuple[Diagnostic, ...] = ()
    """The single things that are wrong, when the error sums up several."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InvalidInput(ModelyardError):
    """Wrong usage, an invalid config, or a name that does not exist (exit code 2)."""

    exit_code = 2


class GateBreached(ModelyardError):
    """A threshold or a promotion gate was not met; what was made is kept (exit code 4)."""

    exit_code = 4


class NoData(ModelyardError):
    """There is nothing to judge; never reported as success (exit code 5)."""

    exit_code = 5


class Interrupted(ModelyardError):
    """Stopped by SIGTERM or ^C after saving what was done (exit code 130)."""

    exit_code = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing that is wrong with one place of an input."""

    message: str
    where: str | None = None
    hint: str | None = None
    code: str | None = None
    """What kind of problem it is, in kebab-case, for programs: `unknown-key`."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ProblemsFound(InvalidInput):
    """Every problem of one input, reported together (exit code 2)."""

    def __init__(
        self, summary: str, problems: Sequence[Diagnostic], *, hint: str | None = None
    ) -> None:
        super().__init__(summary, hint=hint)
        self.problems = tuple(problems)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known word, or an empty string."""
    near = nearest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one, if any is like it."""
    return _nearest(word, tuple(known))


@lru_cache(maxsize=1024)  # a mistake is met once for each environment, and in many configs
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), None)
