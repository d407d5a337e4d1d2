"""SQLite files of a project: WAL mode, migrated by numbered steps, failures that say what to do."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors, exclusive_lock, make_file, make_folder
from modelyard.core.layout import Project
from modelyard.core.os_errors import READ_ONLY_HINT, NoAccess, NoSpace
from modelyard.core.regular_files import require_regular
from modelyard.core.sharing import access_hint

Values = tuple[Any, ...] | Mapping[str, Any]
"""What a query is given: in the order of its `?`, or by the names of its `:name`."""

_MIGRATION_WAIT_S = 60.0
_OF_THE_DISK = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
_INCREMENTAL = 2
"""What `PRAGMA auto_vacuum` says of a file that can give single pages back."""
_PAGES_AT_ONCE = 2000
_LEAST_FREE_BYTES = 65_536
"""SQLite's shared memory file takes 32 kB, and a change a few pages."""


class DatabaseDamaged(ModelyardError):
    """A file of the local state is no SQLite database, or one with damaged pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A file that every project has one of."""

    name: str
    """What its lock is named after."""
    what: str
    """What it holds, for messages."""
    place: Callable[[Project], Path]
    """Where it lies in a project."""
    synchronous: Literal["FULL", "NORMAL"]
    """FULL: a commit survives a power cut. NORMAL: the last ones may be undone by it, in order."""
    migrations: tuple[str, ...]
    """One script per schema version; a shipped script is never edited, only followed by another."""
    if_damaged: str
    """What to do when the file is damaged."""
    private: bool = False
    """Whether it holds what people wrote: what is deleted is overwritten. Its place is one of
    `Project.is_confidential`."""
    shrinks: bool = False
    """Whether `give_back` can give single pages back to the disk."""
    wait_s: float = 30.0
    """How long a change waits for that of another process."""

    @contextmanager
    def open(self, project: Project) -> Iterator[sqlite3.Connection]:
        """A connection, in autocommit mode; the file is created and migrated if need be.

        Use `with transaction(connection):` for a change.
        Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
        """
        with self.errors(project), closing(self.connect(project)) as connection:
            yield connection

    def connect(self, project: Project, *, of_one_thread: bool = True) -> sqlite3.Connection:
        """A connection that the caller closes; for connections kept long, else use `open`."""
        path = self.place(project)
        with disk_errors(path):
            make_folder(path.parent)
            _refuse_other_kinds(path, project)
            make_file(path)  # SQLite's -wal and -shm get its mode
        connection = sqlite3.connect(
            path, timeout=self.wait_s, isolation_level=None, check_same_thread=of_one_thread
        )
        try:
            connection.row_factory = sqlite3.Row
            if self.private:
                connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA synchronous={self.synchronous}")
            if _schema_version(connection) != len(self.migrations):
                # SQLite does not wait for a second process that also turns WAL on; the lock does.
                lock = project.lock(self.name, "db")
                with exclusive_lock(lock, what=self.what, wait_s=_MIGRATION_WAIT_S):
                    if self.shrinks:  # only before there is a table
                        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                    connection.execute("PRAGMA journal_mode=WAL")
                    self._migrate(connection, project)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def connect_unwritable(self, project: Project) -> Iterator[sqlite3.Connection | None]:
        """A connection to read from on a disk that is full or read-only; None where none can be.

        SQLite wants to write a file beside one in WAL mode even to read it. Where no -wal is there,
        all is in the file itself (https://sqlite.org/wal.html#read_only_databases). Such a
        connection does not see later changes: close it soon. Where there is no file, or one that
        was never filled, it is to an empty one in memory; where an earlier version wrote it, to a
        copy in memory that is migrated; where a killed process left a -wal without the file that
        SQLite reads it with, to a copy among the temporary files.
        """
        path = self.place(project)
        wal = path.with_name(f"{path.name}-wal")
        try:
            in_the_file = wal.stat().st_size == 0
        except FileNotFoundError:
            in_the_file = True
        mode = "mode=ro&immutable=1" if in_the_file else "mode=ro"
        with ExitStack() as opened:
            copy = opened.enter_context(closing(sqlite3.connect(":memory:", isolation_level=None)))
            try:
                if not in_the_file and not path.with_name(f"{path.name}-shm").exists():
                    path = opened.enter_context(_copied(path, wal))
                address = f"{path.absolute().as_uri()}?{mode}" if path.exists() else ":memory:"
                connection = sqlite3.connect(address, uri=True, isolation_level=None)
                opened.enter_context(closing(connection))
                connection.row_factory = copy.row_factory = sqlite3.Row
                version = _schema_version(connection)
                if 0 < version < len(self.migrations):
                    connection.backup(copy)
            except (sqlite3.Error, OSError):
                yield None  # what stood in the way of writing says more
                return
            if version < len(self.migrations):
                self._migrate(copy, project)
                yield copy
            else:
                yield connection if version == len(self.migrations) else None

    def in_memory(self, project: Project) -> sqlite3.Connection:
        """A connection to an empty database of this process, for any of its threads."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        self._migrate(connection, project)
        return connection

    @contextmanager
    def errors(self, project: Project) -> Iterator[None]:
        """Turn SQLite's failures into errors that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            folder = self.place(project).parent
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                message, hint = "is in use by another process", "run the same command again"
            elif name.startswith("SQLITE_FULL") or (
                name.startswith(_OF_THE_DISK) and _is_full(folder)
            ):
                raise NoSpace(
                    f"no space left on the disk of {folder}",
                    hint="free some space and run the same command again",
                ) from error
            elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
                path = self.place(project)
                if _is_read_only(folder):
                    message, hint = f"cannot be written: {error}", READ_ONLY_HINT
                else:
                    unreadable = path.exists() and not os.access(path, os.R_OK)
                    message = "it cannot be read" if unreadable else f"cannot be written: {error}"
                    message, hint = f"no access: {message}", access_hint(path)
                raise NoAccess(message, where=project.show(path), hint=hint) from error
            elif name.startswith("SQLITE_IOERR"):
                # Do not suggest moving it away: the file may be intact.
                message = f"cannot be read or written: {error}"
                hint = "check the disk and its free space, and run the same command again"
            elif name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                raise DatabaseDamaged(
                    f"cannot be read: {error}",
                    where=project.show(self.place(project)),
                    hint=self.if_damaged,
                ) from error
            else:
                raise
            where = project.show(self.place(project))
            raise ModelyardError(message, where=where, hint=hint) from error

    def delete_for_good(self, project: Project, *deletions: tuple[str, Values]) -> int:
        """Delete rows so that what they held is nowhere in the file; how many of the first query.

        deletions: queries with their values, all or none of which are applied. Again after it was
        interrupted, it completes. Raises ModelyardError when the file is damaged or cannot be
        written, and while another process reads what was deleted.
        """
        if not self.place(project).exists():
            return 0
        with self.open(project) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            with transaction(connection):
                gone = [connection.execute(*deletion).rowcount for deletion in deletions]
            self.empty_log(project, connection)
            return gone[0]

    def empty_log(self, project: Project, connection: sqlite3.Connection) -> None:
        """Take what was deleted out of the -wal too; the file itself was overwritten.

        Raises ModelyardError while another process reads what is in it.
        """
        (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise ModelyardError(
                "what was deleted is still in its log, which another process reads",
                where=project.show(self.place(project)),
                hint="run the same command again",
            )

    def give_back(self, project: Project) -> None:
        """Give the pages that nothing is in back to the disk.

        A file that an earlier version made is written anew once, for which others wait, and the
        disk needs room for a second one. Killed at any time, the file is as it was, or smaller.
        Raises ModelyardError when it cannot be written.
        """
        with self.open(project) as connection:
            if _pragma(connection, "auto_vacuum") != _INCREMENTAL:
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                connection.execute("VACUUM")
            before, free = math.inf, _pragma(connection, "freelist_count")
            while 0 < free < before:
                # Every row is a page; in pieces, so that the -wal stays small.
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                before, free = free, _pragma(connection, "freelist_count")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def remove(self, project: Project) -> None:
        """Remove the file with all that SQLite keeps beside it."""
        path = self.place(project)
        with disk_errors(path):
            for suffix in ("-wal", "-shm", ""):
                path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _migrate(self, connection: sqlite3.Connection, project: Project) -> None:
        newest = len(self.migrations)
        with transaction(connection):
            found = _schema_version(connection)
            if found > newest:
                raise ModelyardError(
                    f"was written by a newer modelyard (schema {found}, this one knows {newest})",
                    where=project.show(self.place(project)),
                    hint="update modelyard in this environment",
                )
            for script in self.migrations[found:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {newest}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block are applied, or none."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def cannot_write(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because it could not write; reading may still work."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith((*_OF_THE_DISK, "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_PERM"))


@contextmanager
def _copied(path: Path, wal: Path) -> Iterator[Path]:
    """A copy of a database and its -wal that SQLite may write beside."""
    with TemporaryDirectory(prefix="modelyard-", ignore_cleanup_errors=True) as folder:
        for source in (wal, path):  # a checkpoint between them puts rows into both
            shutil.copyfile(source, Path(folder) / source.name)
        yield Path(folder) / path.name


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _LEAST_FREE_BYTES
    return False


def _is_read_only(folder: Path) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return False


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit between them."""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _schema_version(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "user_version")


def _refuse_other_kinds(path: Path, project: Project) -> None:
    """Raise ModelyardError for a pipe, which SQLite would wait for, or a device."""
    try:
        require_regular(path)
    except (FileNotFoundError, IsADirectoryError):
        return  # it is made, or SQLite itself refuses
    except OSError as error:
        raise ModelyardError(
            f"cannot be a file of the local state: {error.strerror}",
            where=project.show(path),
            hint="move it away and run the same command again",
        ) from error
