"""The moment that a snapshot is of: state.db, the links that it tells of, and what versions exist.

A move of a link is a row of state.db, then a rename (core/journal.py), so the two are read while
nobody can commit: in an IMMEDIATE transaction. It lasts as long as reading some folders of links
and versions. In it a second connection begins to read, and sees state.db as it is then for as long
as its copy takes, while others write on; over the first connection SQLite's online backup would
wait for itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelyard.backup.sqlite_files import begun_reading, copied
from modelyard.core.clock import utc_now
from modelyard.core.database import cannot_write
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project
from modelyard.core.state import state_errors

_WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A state of the project that really existed."""

    at: str
    """When, UTC."""
    names: Mapping[str, tuple[str, ...]]
    """What was in a folder whose content state.db tells of, by its path from the root."""
    links: Mapping[str, str]
    """Where the links there led, by their paths."""
    state: BinaryIO | None
    """The bytes of state.db; None when there is none."""


@contextmanager
def reading_moment(project: Project) -> Iterator[Moment]:
    """What was there at one moment; the copy of state.db is gone after the block.

    Waits for a change that is under way, and keeps others from making one for some milliseconds.
    Raises ModelyardError when state.db cannot be read.
    """
    path = project.state_db
    state = None
    with ExitStack() as kept:
        with state_errors(project), ExitStack() as reading:
            if not path.exists():
                at, names, links = utc_now(), *_read_names(project)
            else:
                with _nobody_commits(path):
                    at, names, links = utc_now(), *_read_names(project)
                    begun = reading.enter_context(begun_reading(path))
                state = kept.enter_context(copied(begun.connection, path))
        yield Moment(at=at, names=names, links=links, state=state)


@contextmanager
def _nobody_commits(path: Path) -> Iterator[None]:
    """Keep every process from changing the database; where this one cannot write, it is left."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
    except sqlite3.Error as error:
        if not cannot_write(error):
            raise
        yield
        return
    with closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not cannot_write(error):
                raise
        yield


def _read_names(project: Project) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The names in each folder of links and versions, and where the links lead."""
    deployed = project.deployed("x").parent
    revisions = project.deployed_revision("x", 1).parent
    names: dict[str, tuple[str, ...]] = {}
    links: dict[str, str] = {}
    for folder in (project.trained, deployed, revisions, project.versions):
        path = folder.relative_to(project.root).as_posix()
        # What is staged there is moved to its place, or gone, at any time: also now.
        found = [entry for entry in _list(str(folder)) if not entry.name.startswith(STAGING_PREFIX)]
        names[path] = tuple(sorted(entry.name for entry in found))
        for entry in found:
            if folder in (project.trained, deployed) and entry.is_symlink():
                links[f"{path}/{entry.name}"] = os.readlink(entry.path)  # noqa: PTH115
            elif folder == project.versions and entry.is_dir(follow_symlinks=False):
                below = sorted(version.name for version in _list(entry.path))
                names[f"{path}/{entry.name}"] = tuple(below)
    return names, links


def _list(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, with its kinds in the same call of the system."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
