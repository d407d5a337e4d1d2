"""The schedule of a project as a whole: what it is, and where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from modelyard.core.layout import Project
from modelyard.schedule.crontab import crontab_lines, has_crontab, lines_of, read_crontab
from modelyard.schedule.failures import ScheduleFailed
from modelyard.schedule.jobs import Job, plan_jobs, with_commands
from modelyard.schedule.surroundings import Surroundings, find_surroundings
from modelyard.schedule.systemd import Systemd, find_systemd
from modelyard.schedule.units import render_units

Keeper = Literal["systemd", "crontab"]


@dataclass(frozen=True, kw_only=True)
class ScheduledJob:
    """One command at fixed times."""

    name: str
    """What it is called."""
    purpose: str
    """What it does."""
    times: str
    """When, in words; the machine's time."""
    crontab: str
    """When, as the five fields of a crontab."""
    on_calendar: str
    """When, as systemd writes it."""
    command: tuple[str, ...]
    """The words of the command, from `models` on."""


@dataclass(frozen=True, kw_only=True)
class InstalledSchedule:
    """What is installed of a project."""

    keeper: Keeper
    """What runs it."""
    is_current: bool
    """Whether it is the schedule that is shown."""


@dataclass(frozen=True, kw_only=True)
class ScheduleShown:
    """What runs at fixed times in a project."""

    environment: str
    """The environment that is monitored, indexed and tested."""
    jobs: tuple[ScheduledJob, ...]
    """Each job, those that run most often first."""
    left_out: tuple[ScheduledJob, ...]
    """Jobs whose command this version does not have."""
    installed: tuple[InstalledSchedule, ...]
    """Where the project's schedule is installed; empty: nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The jobs of a project, and what they run with."""

    environment: str
    """What is monitored, indexed and tested."""
    jobs: tuple[Job, ...]
    """Each job whose command there is."""
    left_out: tuple[Job, ...]
    """The others."""
    around: Surroundings
    """Project, program and variables."""

    @property
    def lines(self) -> list[str]:
        """As lines of a crontab."""
        return crontab_lines(self.jobs, self.around)

    def units(self, systemd: Systemd) -> dict[str, str]:
        """As units of systemd, by their file name."""
        return render_units(self.jobs, self.around, for_user=systemd.for_user)

    def find_installed(self) -> tuple[InstalledSchedule, ...]:
        """Where it, or another schedule of the project, is installed."""
        project = self.around.project
        systemd = find_systemd()
        return tuple(
            InstalledSchedule(
                keeper=keeper,
                is_current=(
                    lines_of(read_crontab(), project) == self.lines
                    if keeper == "crontab"
                    else systemd.installed(project) == self.units(systemd)
                ),
            )
            for keeper in find_keepers(project)
        )

    def show(self) -> ScheduleShown:
        """All of it, for programs."""
        return ScheduleShown(
            environment=self.environment,
            jobs=tuple(map(_shown, self.jobs)),
            left_out=tuple(map(_shown, self.left_out)),
            installed=self.find_installed(),
        )


def plan_schedule(
    project: Project,
    environment: str,
    is_command: Callable[[str], bool],
    variables: Mapping[str, str],
    *,
    baseline: str,
) -> Schedule:
    """The schedule of a project.

    is_command: whether `models` followed by these words is a command of this version.
    variables: those of this process.
    baseline: the run that the weekly test is compared with.
    """
    around = find_surroundings(project, variables)
    jobs, left_out = with_commands(
        plan_jobs(around.project.root, environment, baseline=baseline), is_command
    )
    return Schedule(environment=environment, jobs=jobs, left_out=left_out, around=around)


def find_keepers(project: Project) -> tuple[Keeper, ...]:
    """What runs jobs of a project."""
    keepers: list[Keeper] = ["systemd"] if find_systemd().installed(project) else []
    with suppress(ScheduleFailed):  # who may have no crontab has no lines in one
        if has_crontab() and lines_of(read_crontab(), project):
            keepers.append("crontab")
    return tuple(keepers)


def _shown(job: Job) -> ScheduledJob:
    return ScheduledJob(
        name=job.name,
        purpose=job.purpose,
        times=job.times.in_words(),
        crontab=job.times.in_crontab(),
        on_calendar=job.times.in_systemd(),
        command=("models", *job.words),
    )
