"""The audit log: one row for each request, each sealed together with all before it.

Who has the project and not the key can neither change, remove, add nor reorder rows without
`verify_audit` finding it; the newest rows alone can be cut off, and that shows against any head
(number and seal of the last row) that was written down or exported before.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from modelyard.access.audit_key import load_key, make_key
from modelyard.access.audit_rows import AUDIT_DB, LAST_ROW, add_row, head_of
from modelyard.access.caller import AuditEntry
from modelyard.core.database import transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.files import shared_lock
from modelyard.core.layout import Project

_MOST_TOGETHER = 256
"""Rows that one commit takes along, at most."""
_LOCK_WAIT_S = 60.0


def audit_lock(project: Project) -> Path:
    """Held together by all that add rows, and alone by what moves the file."""
    return project.lock("audit", "log")


class AuditLog:
    """Where a service adds its rows; threads may share it. Rows that come together commit together.

    Raises ModelyardError when the log or its key cannot be opened.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        with ExitStack() as opened:
            # A restore over the project waits for it to be let go before it moves the file.
            lock = audit_lock(project)
            opened.enter_context(shared_lock(lock, what="audit log", wait_s=_LOCK_WAIT_S))
            with AUDIT_DB.errors(project):
                self._connection = AUDIT_DB.connect(project, of_one_thread=False)
            opened.callback(self._connection.close)
            self._key = _begin(project, self._connection)
            self._opened = opened.pop_all()
        self._waiting: deque[tuple[AuditEntry, Future[int]]] = deque()
        self._comes = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="modelyard-audit", daemon=True)
        self._thread.start()

    def append(self, entry: AuditEntry) -> int:
        """Add a row, and return its number when a crash or a power cut cannot lose it.

        Raises ModelyardError when it cannot be written.
        """
        written: Future[int] = Future()
        with self._comes:
            if self._closed:
                raise ModelyardError("the audit log was closed", hint="ask again")
            self._waiting.append((entry, written))
            self._comes.notify()
        return written.result()

    def close(self) -> None:
        """Write what waits, and close the file."""
        with self._comes:
            self._closed = True
            self._comes.notify()
        self._thread.join()
        self._opened.close()

    def _run(self) -> None:
        while True:
            with self._comes:
                while not self._waiting and not self._closed:
                    self._comes.wait()
                if not self._waiting:
                    return
                count = min(len(self._waiting), _MOST_TOGETHER)
                together = [self._waiting.popleft() for _ in range(count)]
            try:
                numbers = self._write([entry for entry, _ in together])
            except Exception as error:
                for _, written in together:
                    written.set_exception(error)
            else:
                for (_, written), number in zip(together, numbers, strict=True):
                    written.set_result(number)

    def _write(self, entries: list[AuditEntry]) -> list[int]:
        numbers = []
        with AUDIT_DB.errors(self._project), transaction(self._connection):
            last = head_of(self._connection.execute(LAST_ROW).fetchall())
            for entry in entries:
                last = add_row(self._connection, self._key, last, entry)
                numbers.append(last.count)
        return numbers


def _begin(project: Project, connection: sqlite3.Connection) -> bytes:
    """Give a new log its name and its key; returns the key."""
    with AUDIT_DB.errors(project):
        with transaction(connection):
            if connection.execute("SELECT 1 FROM log").fetchone() is None:
                connection.execute("INSERT INTO log VALUES (?)", (secrets.token_hex(8),))
        [log_id] = connection.execute("SELECT id FROM log").fetchone()
        is_empty = connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None
    if is_empty:
        make_key(project, log_id)
    return load_key(project, log_id)
