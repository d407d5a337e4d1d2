"""Reading a SQLite file as it was after some transaction, whoever writes to it meanwhile."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from modelyard.core.files import require_free_space

_MAGIC = b"SQLite format 3\0"
_WRITE_VERSION_AT = 18
_WAL = 2
HEAD_BYTES = 20
"""The first bytes of a file, which `is_sqlite` and `is_in_wal_mode` need."""
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, and what is part of it."""
_WAIT_S = 30.0


def is_sqlite(head: bytes) -> bool:
    """Whether a file that begins so is one of SQLite."""
    return head.startswith(_MAGIC)


def is_in_wal_mode(head: bytes) -> bool:
    """Whether a SQLite file that begins so has a write-ahead log, so that readers stop nobody."""
    return head[_WRITE_VERSION_AT] == _WAL


@contextmanager
def holding_still(path: Path) -> Iterator[None]:
    """Keep a file with a rollback journal from changing: in the block it may be read byte by byte.

    Writers wait. Open the file before the block, and close it after it: closing it would drop the
    lock (https://sqlite.org/howtocorrupt.html, 2.2). Raises sqlite3.Error.
    """
    with closing(_connect(path)) as connection:
        _begin_reading(connection)
        yield


@contextmanager
def begun_copy(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file in WAL mode that sees it as it is now, for `copied`; stops nobody.

    On a disk that cannot be written to, it sees what lies there. Raises sqlite3.Error.
    """
    with _connect_wal(path) as connection:
        yield connection


@contextmanager
def copied(connection: sqlite3.Connection, path: Path) -> Iterator[BinaryIO]:
    """The bytes of what the connection sees, in a temporary file that has no name any more.

    path: the file that it reads, for its size. Raises sqlite3.Error, and NoSpace.
    """
    folder = Path(tempfile.gettempdir())
    require_free_space(folder, path.stat().st_size, f"a copy of {path.name}")
    handle, name = tempfile.mkstemp(prefix="modelyard-", suffix=".db")
    with os.fdopen(handle, "rb") as file:
        try:
            with closing(sqlite3.connect(name)) as target:
                target.execute("PRAGMA journal_mode = OFF")
                target.execute("PRAGMA synchronous = OFF")
                connection.backup(target)
        finally:
            for suffix in ("", *BESIDE):
                Path(name + suffix).unlink(missing_ok=True)
        yield file


@contextmanager
def _connect_wal(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in a transaction.

    It may write where this process may: one that may not leaves the files that SQLite makes beside
    the database, which the last one to close removes.
    """
    is_writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
    try:
        connection = _connect(path, mode="rw" if is_writable else "ro")
        try:
            connection.execute("PRAGMA query_only = ON")
            _begin_reading(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError:
        # Where it cannot make those files, SQLite reads no database in WAL mode.
        if is_writable:
            raise
        with _copy_of_files(path) as connection:
            yield connection
        return
    with closing(connection):
        yield connection


@contextmanager
def _copy_of_files(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of a file and its log, on a disk where nobody can write them."""
    with tempfile.TemporaryDirectory(prefix="modelyard-") as scratch:
        for suffix in ("", "-wal"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                (Path(scratch) / beside.name).write_bytes(beside.read_bytes())
        with closing(_connect(Path(scratch) / path.name, mode="rw")) as connection:
            _begin_reading(connection)
            yield connection


def _connect(path: Path, *, mode: str = "ro") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_WAIT_S, isolation_level=None
    )


def _begin_reading(connection: sqlite3.Connection) -> None:
    """Begin a transaction, in which the connection sees the file as it is now."""
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
