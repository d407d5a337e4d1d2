"""The project's local state: one SQLite file in WAL mode, migrated by numbered steps.

What must be consistent under a crash is a row here or one rename on the disk; nothing else.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import ModelyardError
from modelyard.core.files import NoSpace, disk_errors, exclusive_lock, make_folder
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
"""One script per schema version; a shipped script is never edited, only followed by another."""

Values = tuple[Any, ...] | Mapping[str, Any]
"""What a query is given: in the order of its `?`, or by the names of its `:name`."""

_MIGRATION_WAIT_S = 60.0
_OF_THE_DISK = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
_LEAST_FREE_BYTES = 65_536
"""SQLite's shared memory file takes 32 kB, and a change a few pages."""


@contextmanager
def open_state(project: Project) -> Iterator[sqlite3.Connection]:
    """A connection to the project's state.db, created and migrated if need be.

    Autocommit mode: use `with transaction(connection):` for a change.
    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    with disk_errors(project.state_db):
        make_folder(project.local_state)
    with state_errors(project), closing(connect_state(project)) as connection:
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block are applied, or none."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


@contextmanager
def state_errors(project: Project) -> Iterator[None]:
    """Turn SQLite's failures into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            message, hint = "is in use by another process", "run the same command again"
        elif name.startswith("SQLITE_FULL") or (
            name.startswith(_OF_THE_DISK) and _is_full(project)
        ):
            raise NoSpace(
                f"no space left on the disk of {project.local_state}",
                hint="free some space and run the same command again",
            ) from error
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            message, hint = f"cannot be written: {error}", "check who owns it"
            if _is_read_only(project):
                hint = "its disk is mounted read-only: what is there can be read, and not changed"
        elif name.startswith("SQLITE_IOERR"):
            # Do not suggest moving it away: the file may be intact, and it holds the history.
            message = f"cannot be read or written: {error}"
            hint = "check the disk and its free space, and run the same command again"
        elif name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            message = f"cannot be read: {error}"
            hint = (
                "restore it from a backup, or move it away and deploy the configs again: "
                "no version or link depends on it"
            )
        else:
            raise
        raise ModelyardError(message, where=project.show(project.state_db), hint=hint) from error


def connect_state(project: Project, *, of_one_thread: bool = True) -> sqlite3.Connection:
    """A connection that the caller closes; for connections kept long, else use `open_state`."""
    connection = sqlite3.connect(
        project.state_db, timeout=30, isolation_level=None, check_same_thread=of_one_thread
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=FULL")
        if _schema_version(connection) != len(_MIGRATIONS):
            # SQLite does not wait for a second process that also turns WAL on; the lock does.
            lock = project.lock("state", "db")
            with exclusive_lock(lock, what="project's state", wait_s=_MIGRATION_WAIT_S):
                connection.execute("PRAGMA journal_mode=WAL")
                _migrate(connection, project)
    except BaseException:
        connection.close()
        raise
    return connection


def _cannot_write(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because it could not write; reading may still work."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith((*_OF_THE_DISK, "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_PERM"))


def _is_full(project: Project) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(project.local_state).free < _LEAST_FREE_BYTES
    return False


def _is_read_only(project: Project) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(project.local_state).f_flag & os.ST_RDONLY)
    return False


def _migrate(connection: sqlite3.Connection, project: Project) -> None:
    newest = len(_MIGRATIONS)
    with transaction(connection):
        found = _schema_version(connection)
        if found > newest:
            raise ModelyardError(
                f"was written by a newer modelyard (schema {found}, this one knows {newest})",
                where=project.show(project.state_db),
                hint="update modelyard in this environment",
            )
        for script in _MIGRATIONS[found:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit between them."""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


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
        with state_errors(project):
            if kept is None or kept.file != file:
                try:
                    kept = _open(project, path, file)
                except sqlite3.OperationalError as error:
                    rows = (
                        _read_unwritable(project, query, values) if _cannot_write(error) else None
                    )
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
    kept = _Kept(connect_state(project, of_one_thread=False), path, file)
    _kept[project.root] = kept
    return kept


def _read_unwritable(project: Project, query: str, values: Values) -> list[sqlite3.Row] | None:
    """The rows, from a disk that is full or read-only; None when there is no way to read them.

    SQLite wants to write a file beside one in WAL mode even to read it. Where no -wal is there,
    all is in the file itself (https://sqlite.org/wal.html#read_only_databases). Such a connection
    does not see later changes, so it is closed after one query.
    """
    wal = project.state_db.with_name(f"{project.state_db.name}-wal")
    try:
        in_the_file = wal.stat().st_size == 0
    except FileNotFoundError:
        in_the_file = True
    mode = "mode=ro&immutable=1" if in_the_file else "mode=ro"
    address = f"{project.state_db.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            readable = _schema_version(connection) == len(_MIGRATIONS)
        except sqlite3.Error:
            readable = False  # what stood in the way of writing says more
        return connection.execute(query, values).fetchall() if readable else None


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
