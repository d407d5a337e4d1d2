"""What a check found: each finding with its rule, its level, and its exact place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelyard.core.errors import Diagnostic

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found."""

    file: str
    """The file, as a person in the project would type it."""
    line: int
    """Line, from 1; 1 where the finding is of the whole file."""
    column: int
    """Column, from 1."""
    level: Level
    """`error`: the config is not valid. `warning`: it is, and probably not meant so."""
    rule: str
    """What kind of mistake it is, in kebab-case."""
    message: str
    """What is wrong, with the nearest right word where there is one."""
    hint: str | None = None
    """What to do about it."""

    @property
    def where(self) -> str:
        """`file:line:col`."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretUse:
    """One place that refers to a secret."""

    reference: str
    """`env:NAME` or `file:PATH`."""
    where: str
    """`file:line:col`."""
    available: bool
    """Whether it can be found here and now; what it is is never read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything that one check found."""

    files: tuple[str, ...]
    """The files that were checked."""
    findings: tuple[Finding, ...]
    """What was found, in the order of files and lines."""
    secrets: tuple[SecretUse, ...]
    """The secrets that these files refer to."""

    @property
    def valid(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not any(finding.level == "error" for finding in self.findings)


def finding_of(problem: Diagnostic, file: str, *, level: Level = "error") -> Finding:
    """A problem as a finding; one without a place is of the file's first line."""
    place = (problem.where or "").rsplit(":", 2)
    if len(place) == 3 and place[1].isdigit() and place[2].isdigit():
        file, line, column = place[0], int(place[1]), int(place[2])
    else:
        line, column = 1, 1
    return Finding(
        file=file,
        line=line,
        column=column,
        level=level,
        rule=problem.code or "unreadable",
        message=problem.message,
        hint=problem.hint,
    )
