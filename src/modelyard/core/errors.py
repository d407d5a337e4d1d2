"""What can go wrong, as one family: every expected failure is a `ModelyardError`.

An error says what happened, where, and what to do next. Its class decides the exit code, which
`models --help` lists. Each class is defined beside the code that raises it,
in the package named here:

    ModelyardError              core         exit code 1
      AdapterMismatch           adapters
        OtherKindOfAdapter      adapters
      AdapterNotCarried         inference
      AnswerFailed              answering
        AnswerCancelled         answering
        BrokenModel             answering
        ContextTooLong          answering
        EngineBusy              answering
        ModelNotServed          answering
        NotTaken                answering
      AuditBroken               access
      BaseDamaged               weights
      BaseUnavailable           weights
      CannotDecrypt             backup
      CannotServe               cli
      CannotWatch               retrieval
      DamagedData               backup
      DamagedIndex              backup
      DamagedMark               backup
      DamagedRegistry           adapters
      DamagedRepository         backup
      DamagedSnapshot           backup
      DamagedVersion            adapters
      DatabaseDamaged           core
      EncoderUnavailable        weights
      FineTuningUnavailable     training
      FormFailed                inference
      GraphDamaged              encoders
      HostedJobFailed           training
      HubFailed                 hub
      IndexDamaged              retrieval
        IndexOfAnotherSchema    retrieval
      LeaseLost                 backup
      LockHeld                  core
      NoAccess                  core
      NoAnswers                 performance
      NoAuditKey                access
      NoKey                     training
      NoSpace                   core
      NoTest                    deployments
      NotConfirmed              cli
      NotDeployed               deployments
      NotEnoughMemory           training
      NotServed                 answering
        NotListed               answering
      NothingAllowed            inference
      NothingToIndex            retrieval
      OutputFailed              cli
      QueueFull                 inference
      RunDamaged                performance
      ScheduleFailed            schedule
      SearchTooLong             core
      SourceFailed              weights
      StalePlan                 deployments
      StoreFailed               stores
        ObjectMissing           stores
      TrainingFailed            training
      UnguardedStore            adapters
      UnreadableWeights         weights
      Unrecognised              inference
      UnsuitableFileSystem      core
      VersionDeleted            adapters
      VersionTagged             adapters
      VersionTaken              adapters
      WrongKey                  backup
      InvalidInput              core         exit code 2
        ContextFull             chatdata
        InputTooLong            answering
        InvalidJson             core
        NoUsableKey             secrets
          NoUsableEndpoint      secrets
        NotEditable             settings
        ProblemsFound           core
        TemplateRefused         chatdata
        TypingTrap              settings
        UnsupportedForm         inference
      GateBreached              core         exit code 4
        OverLimit               answering
      NoData                    core         exit code 5
        IndexMissing            retrieval
        NoRepository            backup
        NothingFound            answering
      Interrupted               core         exit code 130

A `Diagnostic` is one thing that is wrong with an input; errors and reports carry several.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal

KeyPath = tuple[str | int, ...]
"""Where a value stands in nested settings: its keys, from the outermost on."""
Level = Literal["error", "warning"]
_SHOWN_PLACES = 3


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `lora.targets[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing that is wrong, or probably not meant, at one place of an input."""

    message: str
    """What is wrong, with the nearest right word where there is one."""
    where: str | None = None
    """The place: `file:line:col`, a file, or words such as `--set lora.rank=0`."""
    hint: str | None = None
    """What to do about it."""
    level: Level = "error"
    """`error`: the input is not valid. `warning`: it is, and probably not meant so."""
    code: str | None = None
    """What kind of problem it is, in kebab-case, for programs: `unknown-key`."""
    path: KeyPath = field(default=(), compare=False)
    """The value to blame; where it is not written, what it would stand in."""

    @property
    def place(self) -> tuple[str, int, int]:
        """File, line and column; line 1 and column 1 where `where` does not say them."""
        file, line, column = (*(self.where or "").rsplit(":", 2), "", "")[:3]
        if line.isdigit() and column.isdigit():
            return file, int(line), int(column)
        return self.where or "", 1, 1

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ModelyardError(Exception):
    """The thing asked for failed (exit code 1)."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        problems: Iterable[Diagnostic] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.problems = tuple(problems)
        """The single things that are wrong, when the error sums up several."""

    def diagnostics(self) -> list[Diagnostic]:
        """The single things that are wrong; the error itself when it sums up nothing."""
        return list(self.problems) or [
            Diagnostic(message=self.message, where=self.where, hint=self.hint)
        ]

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InvalidInput(ModelyardError):
    """Wrong usage, an invalid config, or a name that does not exist (exit code 2)."""

    exit_code = 2


class GateBreached(ModelyardError):
    """A threshold or a promotion gate was not met; what was made is kept (exit code 4)."""

    exit_code = 4


class NoData(ModelyardError):
    """There is nothing to evaluate; never reported as success (exit code 5)."""

    exit_code = 5


class Interrupted(ModelyardError):
    """Stopped by SIGTERM or ^C after saving what was done (exit code 130)."""

    exit_code = 130


class ProblemsFound(InvalidInput):
    """Every problem of one input, reported together (exit code 2)."""

    def __init__(
        self, summary: str, problems: Sequence[Diagnostic], *, hint: str | None = None
    ) -> None:
        super().__init__(summary, hint=hint, problems=problems)


def group_equal(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Equal problems as one, with how many there are and the first places; in order of the first.

    A table of a thousand rows has one thing wrong with it, and not a thousand.
    """
    groups: dict[tuple[str, str | None, Level], list[Diagnostic]] = {}
    for problem in problems:
        key = (problem.message, problem.hint, problem.level)
        groups.setdefault(key, []).append(problem)
    return [_as_one(equal) for equal in groups.values()]


def _as_one(equal: Sequence[Diagnostic]) -> Diagnostic:
    places = list(dict.fromkeys(problem.where for problem in equal if problem.where))
    if len(places) < 2:
        return equal[0]
    first = ", ".join(places[:_SHOWN_PLACES])
    more = ", ..." if len(places) > _SHOWN_PLACES else ""
    message = f"{equal[0].message} ({len(places):,} places: {first}{more})"
    return replace(equal[0], message=message, where=None)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known word, or an empty string."""
    near = nearest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one, or begins with it, if there is any."""
    return _nearest(word, tuple(known))


_SHORTEST_BEGINNING = 3
"""Letters of a name that are enough to suggest it: `smollm2` of smollm2-135m-instruct."""


@lru_cache(maxsize=1024)  # one misspelt word occurs in every environment and many configs
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    in_lowercase = {name.lower(): name for name in reversed(known)}
    if close := get_close_matches(word.lower(), list(in_lowercase), n=1, cutoff=0.6):
        return in_lowercase[close[0]]
    begun = word.lower() if len(word) >= _SHORTEST_BEGINNING else ""
    longer = (name for name in known if begun and name.lower().startswith(begun))
    return min(longer, key=len, default=None)
