"""The yard's local state: one SQLite file in WAL mode, migrated by numbered steps.

What must be consistent under a crash is a row here or one rename on the disk; nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors
from modelyard.core.layout import Yard

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
)
"""One script per schema version; a step that has shipped is never edited, only followed."""


@contextmanager
def open_state(yard: Yard) -> Iterator[sqlite3.Connection]:
    """A connection to the yard's state.db, created and migrated if need be.

    Autocommit mode: use `with transaction(connection):` for a change.
    Raises ModelyardError when the file was written by a newer modelyard or is damaged.
    """
    with disk_errors(yard.state_db):
        yard.local_state.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(yard.state_db, timeout=30, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        _migrate(connection, yard)
        yield connection
    except sqlite3.DatabaseError as error:
        raise ModelyardError(
            f"the yard's state cannot be used: {error}",
            where=yard.show(yard.state_db),
            hint="restore it from a backup, or move it away: versions and pointers do not depend on it",
        ) from error
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block happen, or none does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, yard: Yard) -> None:
    newest = len(_MIGRATIONS)
    if _schema_version(connection) == newest:
        return
    with transaction(connection):
        found = _schema_version(connection)
        if found > newest:
            raise ModelyardError(
                f"was written by a newer modelyard (schema {found}, this one knows {newest})",
                where=yard.show(yard.state_db),
                hint="update modelyard in this environment",
            )
        for script in _MIGRATIONS[found:]:
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
