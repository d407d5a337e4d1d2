"""Connections to the database of a project that stay open, for every thread and after a fork.

Opening one takes longer than a small change does, and closing the last one of a file writes its
whole log back. SQLite lets the writers of a file wait by sleeping, without an order; here the
threads of a process wait in the line of a lock, so that each process has one writer at most.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.database import Database, Values, cannot_write, transaction
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE

_MOST_KEPT = 4
"""Projects with an open connection; beyond that the oldest is closed."""


@dataclass(slots=True)
class _Kept:
    """A connection, and the identity of its file."""

    connection: sqlite3.Connection
    path: str
    file: tuple[int, int] | None
    syncs: bool = True
    """Whether a commit waits for the disk, where that can be chosen."""


class KeptConnections:
    """The connections of this process to one kind of database, one for each project.

    What reads and what writes is to have connections of its own: on a shared one a reader would
    wait for the disk of whoever writes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[Path, _Kept] = {}
        self._lock = threading.RLock()
        self._is_changing = False
        self._of_parent: list[sqlite3.Connection] = []
        """Connections from before a fork: a child must not even close them."""
        # A fork waits for what is under way: a child would take the locks that SQLite keeps in its
        # memory for those of somebody else, and wait for them in vain.
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._forget_in_child,
        )
        atexit.register(self.close)

    def read(self, project: Project, query: str, values: Values = ()) -> list[sqlite3.Row]:
        """The rows of a query; none when nothing was recorded yet.

        Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
        """
        with self._lock:
            kept = self._kept.get(project.root)
            path = kept.path if kept else str(self._database.place(project))
            file = _file_at(path)
            if file is None:
                return []
            with self._database.errors(project):
                if kept is None or kept.file != file:
                    try:
                        kept = self._open(project, path, file)
                    except (sqlite3.OperationalError, *CANNOT_WRITE) as error:
                        if isinstance(error, sqlite3.Error) and not cannot_write(error):
                            raise
                        rows = self._read_unwritable(project, query, values)
                        if rows is None:
                            raise
                        return rows
                # Read to the end: an open statement would keep reading the old state.
                return kept.connection.execute(query, values).fetchall()

    @contextmanager
    def change(self, project: Project, *, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that is applied whole, or not at all; others of this process wait for it.

        The block uses no other kept connection, and starts no process.

        sync: with a database of synchronous=FULL, whether the commit survives a power cut as soon
        as the block is left; without, the next one that does takes it along.
        Raises ModelyardError when the file is damaged, cannot be written, or is in use for 30 s.
        """
        with self._lock, self._database.errors(project):
            if self._is_changing:  # the lock lets its own thread in again
                raise RuntimeError("a change of a database within another of its changes")
            connection = self._writer(project, sync)
            self._is_changing = True
            try:
                with transaction(connection):
                    yield connection
            finally:
                self._is_changing = False

    def _writer(self, project: Project, sync: bool) -> sqlite3.Connection:
        kept = self._kept.get(project.root)
        path = kept.path if kept else str(self._database.place(project))
        file = _file_at(path)
        if kept is None or kept.file != file:
            kept = self._open(project, path, file)
        if kept.connection.in_transaction:  # ^C came after BEGIN, before the block
            kept.connection.rollback()
        if self._database.synchronous == "FULL" and kept.syncs != sync:
            kept.connection.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
            kept.syncs = sync
        return kept.connection

    def _open(self, project: Project, path: str, file: tuple[int, int] | None) -> _Kept:
        too_many = max(0, len(self._kept) + 1 - _MOST_KEPT)
        for root in {project.root, *list(self._kept)[:too_many]}:
            if old := self._kept.pop(root, None):
                old.connection.close()
        connection = self._database.connect(project, of_one_thread=False)
        # Where there was a file, what was there before: if it was replaced since, that shows.
        kept = _Kept(connection, path, file or _file_at(path))
        self._kept[project.root] = kept
        return kept

    def _read_unwritable(
        self, project: Project, query: str, values: Values
    ) -> list[sqlite3.Row] | None:
        """The rows, from a disk that is full or read-only; None when there is no way to read."""
        with self._database.connect_unwritable(project) as connection:
            return None if connection is None else connection.execute(query, values).fetchall()

    def _forget_in_child(self) -> None:
        self._lock.release()
        self._of_parent.extend(kept.connection for kept in self._kept.values())
        self._kept.clear()

    def close(self) -> None:
        """Close those that are open; the next use opens one again."""
        for kept in self._kept.values():
            kept.connection.close()
        self._kept.clear()


def _file_at(path: str) -> tuple[int, int] | None:
    """What identifies the file at a path; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116, a Path takes twice the time
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
