"""How rows lie in the audit log, and what seals them.

The seal of a row is HMAC-SHA256, under a key that lies outside the project, over the row and the
seal of the row before. A prompt is not in its row, but a salted digest of it is: so a prompt can be
removed and its row still verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from modelyard.access.caller import AuditEntry
from modelyard.core.database import Database
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project

AUDIT_DB = Database(
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


def audit_logs(project: Project) -> list[Database]:
    """The audit log, and those that restores have set aside."""
    return [AUDIT_DB, *map(_aside, project.audit_logs_aside)]


def _aside(path: Path) -> Database:
    return replace(AUDIT_DB, place=lambda _: path)


SEALED = (
    *("number", "at", "organisation", "key_id", "user", "route", "model", "adapter_digest"),
    *("status", "input_tokens", "output_tokens", "latency_us", "answer_id", "prompt_digest"),
)
"""The columns that a seal covers, in its order."""
LAST_ROW = "SELECT number, seal FROM entries ORDER BY number DESC LIMIT 1"
"""What `head_of` is given."""
_START = ""
"""The seal before the first row."""
_INSERT = f"INSERT INTO entries ({', '.join(SEALED)}, seal) VALUES ({'?, ' * len(SEALED)}?)"


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


NO_ROWS = AuditHead(count=0, seal=_START)
"""The head of an empty log."""


def head_of(rows: Sequence[sqlite3.Row]) -> AuditHead:
    """The head that the rows of `LAST_ROW` say."""
    return AuditHead(count=rows[0]["number"], seal=rows[0]["seal"]) if rows else NO_ROWS


def add_row(
    connection: sqlite3.Connection, key: bytes, last: AuditHead, entry: AuditEntry
) -> AuditHead:
    """Add a row behind the last one; returns the new head. Call it in a transaction."""
    row: dict[str, Any] = {
        name: _storable(value) if isinstance(value, str) else value
        for name, value in asdict(entry).items()
    }
    row["number"] = last.count + 1
    row["latency_us"] = round(row.pop("latency_s") * 1e6)
    prompt, row["prompt_digest"] = row.pop("prompt"), None
    if prompt is not None:
        salt = secrets.token_hex(16)
        row["prompt_digest"] = prompt_digest(salt, prompt)
        connection.execute("INSERT INTO prompts VALUES (?, ?, ?)", (row["number"], salt, prompt))
    values = tuple(row[name] for name in SEALED)
    seal = seal_of(key, last.seal, values)
    connection.execute(_INSERT, (*values, seal))
    return AuditHead(count=row["number"], seal=seal)


def seal_of(key: bytes, before: str, values: Sequence[Any]) -> str:
    """The seal of a row: HMAC-SHA256 (RFC 2104) over the one before and the values of `SEALED`."""
    return hmac.digest(key, json.dumps([before, *values]).encode(), "sha256").hex()


def prompt_digest(salt: str, prompt: str) -> str:
    """What a row holds of its prompt."""
    return hashlib.sha256(f"{salt}{prompt}".encode()).hexdigest()


def _storable(text: str) -> str:
    """Half of a surrogate pair, which a client can send, is no text that SQLite takes."""
    return text.encode("utf-8", "backslashreplace").decode()


assert {field.name for field in fields(AuditEntry)} - {"latency_s", "prompt"} <= set(SEALED)
