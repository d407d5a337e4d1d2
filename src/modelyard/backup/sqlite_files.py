"""Reading a SQLite file as it was after some transaction, whoever writes to it meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from modelyard.core.database import cannot_write
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
def unchanging(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """The bytes of a database as it was after some transaction, whoever writes to it meanwhile.

    file: it, opened; it is what is read where there is a rollback journal, and writers wait. Close
    it after the block: closing it would drop the lock (https://sqlite.org/howtocorrupt.html, 2.2).
    A file in WAL mode is copied, and nobody waits. Raises sqlite3.Error, and NoSpace.
    """
    head = os.pread(file.fileno(), HEAD_BYTES, 0)
    with begun_reading(path) as begun:
        if is_in_wal_mode(head) or begun.is_elsewhere:
            with copied(begun.connection, path) as copy:
                yield copy
        else:
            yield file


@dataclass(frozen=True, slots=True)
class Begun:
    """A connection in a transaction, in which it sees a database as it is now."""

    connection: sqlite3.Connection
    """The connection; it changes nothing."""
    is_elsewhere: bool
    """Whether it reads a copy of the files, since it cannot read them where they lie."""


@contextmanager
def begun_reading(path: Path) -> Iterator[Begun]:
    """Begin to read a database. Raises sqlite3.Error.

    The connection may write where this process may: so SQLite completes what a killed process left,
    and removes the files beside a database that only its last user can remove. Where a database
    cannot be read without that, on a disk that is read-only or full, a copy of its files is read.
    """
    is_writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
    try:
        connection = _begin(path, "rw" if is_writable else "ro")
    except sqlite3.OperationalError as error:
        if is_writable and not cannot_write(error):
            raise
        files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-journal")]
        files = [file for file in files if file.exists()]
        with tempfile.TemporaryDirectory(prefix="modelyard-") as scratch:
            before = [file.stat() for file in files]
            for file in files:
                shutil.copyfile(file, Path(scratch) / file.name)
            if is_writable and before != [file.stat() for file in files]:
                raise  # somebody found the room to write
            with closing(_begin(Path(scratch) / path.name, "rw")) as connection:
                yield Begun(connection, is_elsewhere=True)
        return
    with closing(connection):
        yield Begun(connection, is_elsewhere=False)


def _begin(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def copied(connection: sqlite3.Connection, path: Path) -> Iterator[BinaryIO]:
    """The bytes of what a connection sees, in a temporary file that has no name any more.

    path: the database, for its size. Raises sqlite3.Error, and NoSpace.
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
