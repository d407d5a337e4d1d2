"""What a job needs around it: the project, the program and the variables, all absolute.

Cron and systemd start a job in another folder, with other variables and without a virtual
environment that is active.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.wording import visible_line
from modelyard.schedule.jobs import project_digest

_PATHS = (
    *("MODELS_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"),
    "MODELS_BACKUP_KEY_FILE",
)
_ADDRESSES = ("HF_ENDPOINT", "MODELS_BACKUP_REPO")
"""Variables that say where weights and backups lie, and come from. Keys are never written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the jobs of a project run with."""

    project: Project
    """Whose jobs they are."""
    program: tuple[str, ...]
    """The words that start `models`, the first an absolute path."""
    variables: Mapping[str, str]
    """Variables that a job needs."""

    @property
    def mark(self) -> str:
        """A comment by which the lines of this project are known."""
        return f"# {self.project.root}: {mark_ending(self.project)}"


def mark_ending(project: Project) -> str:
    """What a line of this project ends in, and no line of another, whatever its path is."""
    return f"models schedule {project_digest(project.root)}"


def resolved(project: Project) -> Project:
    """The project by its one path without links, so that it has one schedule."""
    return Project(project.root.resolve())


def find_surroundings(project: Project, variables: Mapping[str, str]) -> Surroundings:
    """What the jobs of a project need, from the variables of this process.

    Raises InvalidInput for a path that is no text: units and crontabs are text.
    """
    project = resolved(project)
    kept = {
        name: str(Path(value).expanduser().absolute()) if name in _PATHS else value
        for name in (*_PATHS, *_ADDRESSES)
        if (value := variables.get(name))
    }
    found = Surroundings(
        project=project,
        program=_program(),
        variables={"MODELS_PROJECT": str(project.root), **kept},
    )
    for text in (*found.program, *found.variables.values()):
        if not _is_line(text):
            raise InvalidInput(
                f"{text!r} cannot be in a schedule: it is not one line of text",
                hint="rename the folder",
            )
    return found


def owner_of(project: Project) -> str:
    """The user to whom the folder of a project belongs."""
    uid = project.root.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of another machine or container
        return str(uid)


def _is_line(text: str) -> bool:
    try:
        return visible_line(text).encode() == text.encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return False


def _program() -> tuple[str, ...]:
    """`models` beside this interpreter, as in every virtual environment; else the interpreter."""
    script = Path(sys.executable).with_name("models")
    if os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-m", "modelyard")
