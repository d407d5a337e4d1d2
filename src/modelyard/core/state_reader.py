"""Reading state.db all the time: one connection a process, kept open.

For what is asked at every request. Any thread may ask; a forked child opens a connection of its
own, as SQLite wants it (https://sqlite.org/howtocorrupt.html, section 2.6); and when the file has
been replaced, by a restored backup say, the new one is read.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.layout import Project
from modelyard.core.state import cannot_write, connect_state, connect_unwritable, state_errors

_MOST_KEPT = 4
"""Projects that are read at once; of a further one, the first is let go."""


@dataclass(slots=True)
class _Kept:
    """A connection, and the file that it leads to."""

    connection: sqlite3.Connection
    path: str
    file: tuple[int, int]


_kept: dict[Path, _Kept] = {}
_lock = threading.Lock()
_of_the_parent: list[sqlite3.Connection] = []
"""Connections from before a fork: a child must not even close them."""


def read_state(project: Project, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
    """The rows of a query; none where nothing was ever recorded.

    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    with _lock:
        kept = _kept.get(project.root)
        path = kept.path if kept else str(project.state_db)
        try:
            status = os.stat(path)  # noqa: PTH116, a Path takes twice the time
        except (FileNotFoundError, NotADirectoryError):
            return []
        file = (status.st_dev, status.st_ino)
        with state_errors(project):
            if kept is None or kept.file != file:
                try:
                    kept = _open(project, path, file)
                except sqlite3.OperationalError as error:
                    if not cannot_write(error):
                        raise
                    rows = _read_unwritable(project, query, values)
                    if rows is None:
                        raise
                    return rows
            # Read to the end: a statement left open would keep the state as it was.
            return kept.connection.execute(query, values).fetchall()


def _open(project: Project, path: str, file: tuple[int, int]) -> _Kept:
    too_many = max(0, len(_kept) + 1 - _MOST_KEPT)
    for root in {project.root, *list(_kept)[:too_many]}:
        if old := _kept.pop(root, None):
            old.connection.close()
    kept = _Kept(connect_state(project, of_one_thread=False), path, file)
    _kept[project.root] = kept
    return kept


def _read_unwritable(
    project: Project, query: str, values: tuple[Any, ...]
) -> list[sqlite3.Row] | None:
    """The rows, from a disk that is full or read-only; None when there is no way to read them."""
    connection = connect_unwritable(project)
    if connection is None:
        return None
    with closing(connection):
        return connection.execute(query, values).fetchall()


def _begin_anew_in_the_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _of_the_parent.extend(kept.connection for kept in _kept.values())
    _kept.clear()


def _close_all() -> None:
    for kept in _kept.values():
        kept.connection.close()
    _kept.clear()


os.register_at_fork(after_in_child=_begin_anew_in_the_child)
atexit.register(_close_all)
