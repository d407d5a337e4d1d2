"""The audit log: one row for each request, each sealed together with all before it.

The seal of a row is HMAC-SHA256, under a key that lies outside the project, over the row and the
seal of the row before. Who has the project and not the key can neither change, remove, add nor
reorder rows without `verify` finding it; the newest rows alone can be cut off, and that shows
against any head (number and seal of the last row) that was written down or exported before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from modelyard.access.caller import AuditEntry
from modelyard.core.database import Database, transaction
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import disk_errors
from modelyard.core.kept_connections import KeptConnections
from modelyard.core.layout import Project

_MOST_TOGETHER = 256
"""Rows that one commit takes along, at most."""

_AUDIT = Database(
    name="audit",
    what="audit log",
    place=lambda project: project.audit_log,
    synchronous="FULL",
    migrations=(
        """
        CREATE TABLE log (id TEXT NOT NULL) STRICT;  -- one row: names the key of the log
        CREATE TABLE entries (
            number         INTEGER PRIMARY KEY,      -- from 1, without gaps
            at             TEXT NOT NULL,            -- UTC
            organisation   TEXT,                     -- NULL: of no key
            key_id         TEXT,
            user           TEXT,                     -- of this machine, on the Unix socket
            route          TEXT NOT NULL,
            model          TEXT,
            adapter_digest TEXT,
            status         INTEGER NOT NULL,
            input_tokens   INTEGER,
            output_tokens  INTEGER,
            latency_us     INTEGER NOT NULL,
            answer_id      TEXT,
            prompt_digest  TEXT,                     -- SHA-256 of salt and prompt
            seal           TEXT NOT NULL             -- HMAC over the row and the seal before
        ) STRICT;
        CREATE TABLE prompts (                       -- can be removed: the seal has the digest
            number         INTEGER PRIMARY KEY,
            salt           TEXT NOT NULL,
            prompt         TEXT NOT NULL
        ) STRICT;
        """,
    ),
    if_damaged="move it away: a new one is begun; restore it from a backup to verify it",
    private=True,
)
_SEALED = (
    *("number", "at", "organisation", "key_id", "user", "route", "model", "adapter_digest"),
    *("status", "input_tokens", "output_tokens", "latency_us", "answer_id", "prompt_digest"),
)
"""What a seal covers."""
_START = ""
"""The seal before the first row."""
_LAST = "SELECT number, seal FROM entries ORDER BY number DESC LIMIT 1"
_READING = KeptConnections(_AUDIT)
_READ_TOGETHER = 5_000


class AuditBroken(ModelyardError):
    """The audit log is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The last row: what a later state of the log can be compared with."""

    count: int
    """How many rows there are; the last one has this number."""
    seal: str
    """The seal of the last row; empty for none."""

    def __str__(self) -> str:
        return f"{self.count}:{self.seal}"

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        """A head as it is printed. Raises InvalidInput for another text."""
        count, colon, seal = text.partition(":")
        if colon and count.isdecimal() and len(count) < 19 and (len(seal) == 64 or count == "0"):
            return cls(count=int(count), seal=seal)
        raise InvalidInput(
            f"{text!r} is no head of an audit log", hint="as `models audit head` prints it"
        )


class AuditLog:
    """Where a service adds its rows; threads may share it. Rows that come together commit together.

    Raises ModelyardError when the log or its key cannot be opened.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._connection = _open(project)
        try:
            self._key = _load_key(_log_id(self._connection), make=_is_empty(self._connection))
        except BaseException:
            self._connection.close()
            raise
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
        self._connection.close()

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
        with _AUDIT.errors(self._project), transaction(self._connection):
            last = _head_of(self._connection.execute(_LAST).fetchall())
            for entry in entries:
                last = _add(self._connection, self._key, last, entry)
                numbers.append(last.count)
        return numbers


def _add(
    connection: sqlite3.Connection, key: bytes, last: AuditHead, entry: AuditEntry
) -> AuditHead:
    """Add a row behind the last one."""
    row: dict[str, Any] = asdict(entry) | {"number": last.count + 1}
    row["latency_us"] = round(row.pop("latency_s") * 1e6)
    prompt, row["prompt_digest"] = row.pop("prompt"), None
    if prompt is not None:
        salt = secrets.token_hex(16)
        row["prompt_digest"] = _prompt_digest(salt, prompt)
        connection.execute("INSERT INTO prompts VALUES (?, ?, ?)", (row["number"], salt, prompt))
    seal = _seal(key, last.seal, row)
    names = ", ".join(_SEALED)
    marks = ", ".join(f":{name}" for name in _SEALED)
    connection.execute(
        f"INSERT INTO entries ({names}, seal) VALUES ({marks}, :seal)", row | {"seal": seal}
    )
    return AuditHead(count=row["number"], seal=seal)


def _seal(key: bytes, before: str, row: Any) -> str:
    """The seal of a row: HMAC-SHA256 (RFC 2104) over the one before and the row's values."""
    values = json.dumps([before, *(row[name] for name in _SEALED)], ensure_ascii=True)
    return hmac.new(key, values.encode(), hashlib.sha256).hexdigest()


def _prompt_digest(salt: str, prompt: str) -> str:
    return hashlib.sha256(f"{salt}{prompt}".encode(errors="surrogatepass")).hexdigest()


# Reading, which needs no right to write.


def read_head(project: Project) -> AuditHead:
    """The last row of the log, as it stands there; nothing is verified."""
    return _head_of(_READING.read(project, _LAST))


def verify_audit(project: Project, *, expected: AuditHead | None = None) -> AuditHead:
    """Check every seal, and return the head.

    expected: a head of before, which must be one of the rows: so a cut tail shows.
    Raises AuditBroken, which names the first row that is not what was written.
    """
    last, found = AuditHead(count=0, seal=_START), expected is None or not expected.count
    names = _READING.read(project, "SELECT id FROM log")
    key = _load_key(names[0]["id"], make=False) if names else b""
    for row in _rows(project):
        if row["number"] != last.count + 1:
            raise _broken(last.count + 1, "is missing")
        if not hmac.compare_digest(row["seal"], _seal(key, last.seal, row)):
            raise _broken(row["number"], "was changed, or was sealed with another key")
        if row["prompt"] is not None and (
            _prompt_digest(row["salt"], row["prompt"]) != row["prompt_digest"]
        ):
            raise _broken(row["number"], "has another prompt than was asked")
        last = AuditHead(count=row["number"], seal=row["seal"])
        found = found or last == expected
    if expected is not None and not found:
        raise AuditBroken(
            f"row {expected.count:,} of the audit log is not the one that was written down"
            if expected.count <= last.count
            else f"the audit log ends with row {last.count:,}, and had {expected.count:,}",
            hint="its end was cut off, or all of it was written anew; compare it with a backup",
        )
    return last


def export_audit(project: Project) -> Iterator[dict[str, Any]]:
    """Every row with its seal and, where it is still there, its prompt; then the head."""
    last = AuditHead(count=0, seal=_START)
    for row in _rows(project):
        last = AuditHead(count=row["number"], seal=row["seal"])
        yield {name: row[name] for name in (*_SEALED, "prompt", "seal")}
    yield {"head": str(last)}


def _rows(project: Project) -> Iterator[sqlite3.Row]:
    """Every row by number, with its prompt, read some thousands at a time."""
    after = 0
    while rows := _READING.read(
        project,
        "SELECT entries.*, salt, prompt FROM entries LEFT JOIN prompts USING (number) "
        "WHERE number > ? ORDER BY number LIMIT ?",
        (after, _READ_TOGETHER),
    ):
        yield from rows
        after = rows[-1]["number"]


def _broken(number: int, what: str) -> AuditBroken:
    return AuditBroken(
        f"row {number:,} of the audit log {what}",
        hint="rows before it are what was written; compare the rest with a backup or an export",
    )


def _head_of(rows: Sequence[sqlite3.Row]) -> AuditHead:
    if not rows:
        return AuditHead(count=0, seal=_START)
    return AuditHead(count=rows[0]["number"], seal=rows[0]["seal"])


# The file and its key.


def _open(project: Project) -> sqlite3.Connection:
    with _AUDIT.errors(project):
        connection = _AUDIT.connect(project, of_one_thread=False)
        with transaction(connection):
            if connection.execute("SELECT 1 FROM log").fetchone() is None:
                connection.execute("INSERT INTO log VALUES (?)", (secrets.token_hex(8),))
    return connection


def _log_id(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT id FROM log").fetchone()["id"])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None


def key_path(log_id: str) -> Path:
    """Where the key of a log lies: `$MODELS_AUDIT_KEY`, else among the user's settings."""
    if named := os.environ.get("MODELS_AUDIT_KEY"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "modelyard" / "audit" / f"{log_id}.key"


def _load_key(log_id: str, *, make: bool) -> bytes:
    """The key of a log. A new log gets a new one, unless a key is there already."""
    path = key_path(log_id)
    if make and not path.exists():
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                pass
            else:
                with open(file, "w") as opened:  # noqa: PTH123 (a descriptor)
                    opened.write(secrets.token_hex(32) + "\n")
    try:
        key = path.read_text().strip()
    except FileNotFoundError as error:
        raise ModelyardError(
            "the key of the audit log is not there",
            where=str(path),
            hint="put it back, or name another place in MODELS_AUDIT_KEY; without it no row can be "
            "added or verified",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelyardError(f"cannot be read: {error}", where=str(path)) from error
    if len(key) < 32:
        raise ModelyardError(
            "holds no key: 64 hex digits belong there",
            where=str(path),
            hint="restore the file from where you keep it",
        )
    return key.encode()


assert {field.name for field in fields(AuditEntry)} - {"latency_s", "prompt"} <= set(_SEALED)
