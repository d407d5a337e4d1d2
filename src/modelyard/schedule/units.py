"""The jobs of a project as units of systemd: a service and a timer for each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.schedule.jobs import Job, project_digest
from modelyard.schedule.surroundings import Surroundings, owner_of

_REFUSED_IN_PROGRAMS = frozenset("\"'\\")
_LONGEST = "12h"
_MOST_DELAY = "5min"


def unit_prefix(project: Project) -> str:
    """What the names of a project's units begin with; no other project has the same."""
    name = re.sub(r"[^a-z0-9]+", "-", project.root.name.lower()).strip("-")[:32] or "project"
    return f"modelyard-{name}-{project_digest(project.root)}-"


def render_units(jobs: Sequence[Job], around: Surroundings, *, for_user: bool) -> dict[str, str]:
    """The text of each unit by its file name; services before timers.

    for_user: whether the user's own systemd runs them; else they run as the project's owner.
    Raises InvalidInput for a program that systemd could not start.
    """
    if _REFUSED_IN_PROGRAMS & set(around.program[0]):
        raise InvalidInput(
            "systemd starts no program with a quote or a backslash in its path",
            where=around.program[0],
            hint="use --crontab, or move the virtual environment",
        )
    prefix = unit_prefix(around.project)
    services = {
        f"{prefix}{job.name}.service": _service(
            job,
            around,
            owner=None if for_user else owner_of(around.project),
            # Those that keep the machine busy do not overlap: one waits for those before it.
            after=[f"{prefix}{other.name}.service" for other in jobs[:place]] if place else [],
        )
        for place, job in enumerate(jobs)
    }
    timers = {f"{prefix}{job.name}.timer": _timer(job, around) for job in jobs}
    return {**services, **timers}


def _service(job: Job, around: Surroundings, *, owner: str | None, after: Sequence[str]) -> str:
    command = " ".join(_word(word) for word in (*around.program, *job.words))
    variables = [
        f"Environment={_quoted(f'{name}={value}')}" for name, value in around.variables.items()
    ]
    return _text(
        around.mark,
        "[Unit]",
        _description(job, around),
        *([f"After={' '.join(after)}"] if after else []),
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={owner}"] if owner else []),
        *variables,
        # The colon: `$` stands for itself.
        f"ExecStart=:{command}",
        f"TimeoutStartSec={_LONGEST}",
        "Nice=10",
    )


def _timer(job: Job, around: Surroundings) -> str:
    return _text(
        around.mark,
        "[Unit]",
        _description(job, around),
        "",
        "[Timer]",
        f"OnCalendar={job.times.in_systemd()}",
        "Persistent=true",
        f"RandomizedDelaySec={_MOST_DELAY}",
        "",
        "[Install]",
        "WantedBy=timers.target",
    )


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _description(job: Job, around: Surroundings) -> str:
    return f"Description={_escaped(f'{around.project.root.name}: {job.purpose}')}"


def _word(word: str) -> str:
    return word if re.fullmatch(r"[A-Za-z0-9_./=:@,+-]+", word) else _quoted(word)


def _quoted(text: str) -> str:
    """A text in the quotes of systemd, with its specifiers and escapes taken literally."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(escaped)}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
