"""The jobs of a project and their times.

Times are those of the machine's clock, and lie after the hours that a change to or from summer time
takes out or repeats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_QUARTERS = (1, 4, 7, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a job runs; what is left out is every one."""

    minute: int
    """0 to 59."""
    hour: int | None = None
    """0 to 23."""
    weekday: int | None = None
    """0 is Sunday, as in a crontab."""
    day: int | None = None
    """Day of the month."""
    months: tuple[int, ...] = ()
    """1 to 12; empty: all."""

    def in_crontab(self) -> str:
        """The five fields of a line: `17 4 * * *`."""
        months = ",".join(map(str, self.months)) or "*"
        fields = (self.minute, self.hour, self.day, months, self.weekday)
        return " ".join("*" if field is None else str(field) for field in fields)

    def in_systemd(self) -> str:
        """The same as an OnCalendar: `*-*-* 04:17:00`."""
        day = "" if self.weekday is None else f"{_DAYS[self.weekday]} "
        months = ",".join(f"{month:02}" for month in self.months) or "*"
        date = f"*-{months}-{_two_digits(self.day)}"
        return f"{day}{date} {_two_digits(self.hour)}:{self.minute:02}:00"

    def in_words(self) -> str:
        """The same for people: `every day, 04:17`."""
        if self.hour is None:
            return f"every hour, minute {self.minute}"
        at = f"{self.hour:02}:{self.minute:02}"
        if self.weekday is not None:
            return f"every {_DAYS[self.weekday]}, {at}"
        if self.day is None:
            return f"every day, {at}"
        return f"day {self.day} of every {'quarter' if self.months else 'month'}, {at}"


def _two_digits(number: int | None) -> str:
    return "*" if number is None else f"{number:02}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command that runs at fixed times."""

    name: str
    """What it is called, in file names too."""
    purpose: str
    """What it does, in a few words."""
    times: Times
    """When."""
    words: tuple[str, ...]
    """The command, after `models`."""
    is_read: bool = False
    """Whether what it prints is for somebody to read, and not only when it failed."""

    @property
    def command(self) -> str:
        """The command without its options: `prices check`."""
        options = (place for place, word in enumerate(self.words) if word.startswith("-"))
        return " ".join(self.words[: next(options, None)])


def spread_minute(root: Path) -> int:
    """The minute of a project's jobs, 0 to 49: two projects on a machine mostly have two."""
    return int(project_digest(root), 16) % 50


def project_digest(root: Path) -> str:
    """Eight hex digits that identify a project on this machine: of its path."""
    return hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def plan_jobs(root: Path, environment: str, *, baseline: str) -> tuple[Job, ...]:
    """All jobs of a project, those that run most often first.

    root: the project's folder. environment: what is monitored, indexed and tested.
    baseline: the run that the weekly test is compared with.
    """
    minute = spread_minute(root)
    env = ("--env", environment)
    on_the_quarter = Times(minute=minute, hour=10, day=1, months=_QUARTERS)
    return (
        Job(
            name="monitor",
            purpose="judge what was answered",
            times=Times(minute=minute),
            words=("monitor", "--on-change", *env),
            is_read=True,
        ),
        Job(
            name="embeddings",
            purpose="index files that changed",
            times=Times(minute=minute, hour=4),
            words=("update-embeddings", "--all", "--incremental", *env),
        ),
        Job(
            name="backup",
            purpose="back up models and indexes",
            times=Times(minute=minute, hour=5),
            words=("backup", "--models", "all", "--include-embeddings", "--tag", "nightly"),
        ),
        Job(
            name="performance-test",
            purpose="test against the baseline",
            times=Times(minute=minute, hour=6, weekday=0),
            words=(
                *("performance-test", "--test-suite", "comprehensive", "--baseline", baseline),
                *env,
            ),
        ),
        Job(
            name="config-review",
            purpose="find unused configs and stale prices",
            times=Times(minute=minute, hour=9, day=1),
            words=("config", "review", *env),
            is_read=True,
        ),
        Job(
            name="providers",
            purpose="check that each model would answer",
            times=on_the_quarter,
            words=("providers", "check", *env),
        ),
        Job(
            name="prices",
            purpose="compare prices with what providers charge",
            times=replace(on_the_quarter, minute=minute + 4),
            words=("prices", "check", *env),
        ),
        Job(
            name="bases",
            purpose="ask the hub for newer revisions of bases",
            times=replace(on_the_quarter, minute=minute + 8),
            words=("base", "check"),
            is_read=True,
        ),
        Job(
            name="capabilities",
            purpose="test every configured model, side by side",
            times=replace(on_the_quarter, hour=11),
            words=("providers", "compare", "--test-suite", "quick", *env),
            is_read=True,
        ),
    )


def with_commands(
    jobs: Sequence[Job], is_command: Callable[[str], bool]
) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """The jobs whose command this version has, and those whose command it has not.

    is_command: whether `models` followed by these words is a command.
    """
    there = tuple(job for job in jobs if is_command(job.command))
    return there, tuple(job for job in jobs if job not in there)
