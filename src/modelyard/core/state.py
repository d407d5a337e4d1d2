"""The project's local state: one SQLite file, state.db, and readers that keep it open.

What must be consistent under a crash is a row here or one rename on the disk; nothing else.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.database import Database, cannot_write
from modelyard.core.layout import Project

_MIGRATIONS = (
    """
    CREATE TABLE pointer_moves (
        sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
        adapter       TEXT NOT NULL,
        action        TEXT NOT NULL,          -- promote, rollback
        from_version  INTEGER,                -- NULL: nothing was in use before
        to_version    INTEGER NOT NULL,
        reason        TEXT,
        moved_at      TEXT NOT NULL,
        settled       INTEGER NOT NULL        -- 0 until the link has moved
    ) STRICT;
    CREATE INDEX pointer_moves_by_adapter ON pointer_moves (adapter, sequence);
    """,
    """
    CREATE TABLE pins (
        adapter    TEXT NOT NULL,
        version    INTEGER NOT NULL,
        reason     TEXT,
        pinned_at  TEXT NOT NULL,
        PRIMARY KEY (adapter, version)
    ) STRICT;
    """,
    """
    CREATE TABLE feedback (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        recorded_at  TEXT NOT NULL,           -- UTC
        org          TEXT,                    -- NULL: of no organisation
        adapter      TEXT,                    -- what answered: NAME or NAME@VERSION
        prompt       TEXT NOT NULL,
        answer       TEXT NOT NULL,
        rating       TEXT,                    -- good, bad
        correction   TEXT,
        used_in      TEXT                     -- the dataset that it belongs to; NULL: none yet
    ) STRICT;
    CREATE INDEX feedback_by_prompt ON feedback (prompt);
    CREATE INDEX feedback_by_use ON feedback (used_in);
    """,
    """
    CREATE TABLE config_contents (
        digest   TEXT PRIMARY KEY,            -- SHA-256 of the content with its keys sorted
        content  TEXT NOT NULL                -- JSON, keys in the order in which they were written
    ) STRICT;
    CREATE TABLE config_revisions (
        environment    TEXT NOT NULL,
        revision       INTEGER NOT NULL,      -- from 1, without gaps
        action         TEXT NOT NULL,         -- deploy, switch, undo, rollback
        created_at     TEXT NOT NULL,         -- UTC
        made_by        TEXT NOT NULL,
        reason         TEXT,
        from_revision  INTEGER,               -- undo, rollback: the revision they go back to
        snapshot       TEXT NOT NULL,         -- JSON: digests by config, profiles by domain
        digest         TEXT NOT NULL,         -- SHA-256 of the snapshot
        files          TEXT NOT NULL,         -- JSON: SHA-256 of each file written, by its path
        settled        INTEGER NOT NULL,      -- 0 until the link of the environment has moved
        PRIMARY KEY (environment, revision)
    ) STRICT;
    """,
)

Values = tuple[Any, ...] | Mapping[str, Any]
"""What a query is given: in the order of its `?`, or by the names of its `:name`."""

_STATE = Database(
    name="state",
    what="project's state",
    place=lambda project: project.state_db,
    synchronous="FULL",
    migrations=_MIGRATIONS,
    if_damaged="restore it from a backup, or move it away and deploy the configs again: "
    "no version or link depends on it",
)


def open_state(project: Project) -> AbstractContextManager[sqlite3.Connection]:
    """A connection to the project's state.db, created and migrated if need be.

    Autocommit mode: use `with transaction(connection):` for a change.
    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    return _STATE.open(project)


_MOST_KEPT = 4
"""Projects with an open connection; beyond that the oldest is closed."""


@dataclass(slots=True)
class _Kept:
    """A connection, and the identity of its file."""

    connection: sqlite3.Connection
    path: str
    file: tuple[int, int]


_kept: dict[Path, _Kept] = {}
_lock = threading.Lock()
_parent_connections: list[sqlite3.Connection] = []
"""Connections from before a fork: a child must not even close them."""


def read_state(project: Project, query: str, values: Values = ()) -> list[sqlite3.Row]:
    """The rows of a query; none when nothing was recorded yet.

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
        with _STATE.errors(project):
            if kept is None or kept.file != file:
                try:
                    kept = _open(project, path, file)
                except sqlite3.OperationalError as error:
                    rows = _read_unwritable(project, query, values) if cannot_write(error) else None
                    if rows is None:
                        raise
                    return rows
            # Read to the end: an open statement would keep reading the old state.
            return kept.connection.execute(query, values).fetchall()


def _open(project: Project, path: str, file: tuple[int, int]) -> _Kept:
    too_many = max(0, len(_kept) + 1 - _MOST_KEPT)
    for root in {project.root, *list(_kept)[:too_many]}:
        if old := _kept.pop(root, None):
            old.connection.close()
    kept = _Kept(_STATE.connect(project, of_one_thread=False), path, file)
    _kept[project.root] = kept
    return kept


def _read_unwritable(project: Project, query: str, values: Values) -> list[sqlite3.Row] | None:
    """The rows, from a disk that is full or read-only; None when there is no way to read them."""
    with _STATE.connect_unwritable(project) as connection:
        return None if connection is None else connection.execute(query, values).fetchall()


def _forget_connections_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _parent_connections.extend(kept.connection for kept in _kept.values())
    _kept.clear()


def _close_all() -> None:
    for kept in _kept.values():
        kept.connection.close()
    _kept.clear()


os.register_at_fork(after_in_child=_forget_connections_in_child)
atexit.register(_close_all)
