"""Reading the audit log: verified, exported, compared with another; it needs no right to write."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from modelyard.access.audit_key import load_key
from modelyard.access.audit_rows import (
    AUDIT_DB,
    LAST_ROW,
    NO_ROWS,
    SEALED,
    AuditHead,
    head_of,
    prompt_digest,
    seal_of,
)
from modelyard.core.database import Database, DatabaseDamaged, cannot_write
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE

_ALL = f"""
SELECT {", ".join(SEALED)}, seal, salt, prompt
FROM entries LEFT JOIN prompts USING (number) ORDER BY number
"""
_SEAL, _SALT, _PROMPT = len(SEALED), len(SEALED) + 1, len(SEALED) + 2


class AuditBroken(ModelyardError):
    """The audit log is not what was written."""


def read_head(project: Project) -> AuditHead:
    """The last row of the log, as it stands there; nothing is verified."""
    with reading_audit(project) as log:
        return NO_ROWS if log is None else head_of(log.execute(LAST_ROW).fetchall())


def verify_audit(
    project: Project, *, expected: AuditHead | None = None, database: Database = AUDIT_DB
) -> AuditHead:
    """Check every seal, one row in memory at a time, and return the head.

    expected: a head of before, which must be one of the rows: so a cut tail shows.
    database: one that was set aside instead.
    Raises AuditBroken, which names the first row that is not what was written, and ModelyardError
    without the key.
    """
    last, found = NO_ROWS, expected is None or not expected.count
    with reading_audit(project, database) as log:
        if log is not None and (name := log.execute("SELECT id FROM log").fetchone()):
            key = load_key(project, name["id"])
            for row in log.execute(_ALL):
                last = _verified(row, last, key)
                found = found or last == expected
            newest = log.execute("SELECT min(number), max(number) FROM prompts").fetchone()
            if newest[0] is not None and not 1 <= newest[0] <= newest[1] <= last.count:
                raise AuditBroken(
                    "the audit log has a prompt of a row that it has not",
                    hint="its end was cut off; compare it with a backup or an export",
                )
        elif log is not None and log.execute("SELECT 1 FROM entries").fetchone():
            raise AuditBroken(
                "the audit log has lost its name, and so what its key is called",
                hint="compare it with a backup or an export",
            )
    if expected is not None and not found:
        raise AuditBroken(
            f"row {expected.count:,} of the audit log is not the one that was written down"
            if expected.count <= last.count
            else f"the audit log ends with row {last.count:,}, and had {expected.count:,}",
            hint="its end was cut off, or all of it was written anew; compare it with a backup",
        )
    return last


@contextmanager
def _broken_tables() -> Iterator[None]:
    """Raise AuditBroken where the log lacks a table or a column."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such "):
            raise
        raise AuditBroken(
            f"the audit log is not what was written: {error}",
            hint="compare it with a backup or an export",
        ) from error


def _verified(row: sqlite3.Row, last: AuditHead, key: bytes) -> AuditHead:
    """The head that a row makes. Raises AuditBroken."""
    values = tuple(row)
    number, seal, prompt = values[0], values[_SEAL], values[_PROMPT]
    if number != last.count + 1:
        raise _broken(last.count + 1, "is missing")
    if not hmac.compare_digest(seal.encode(), seal_of(key, last.seal, values[:_SEAL]).encode()):
        raise _broken(number, "was changed, or was sealed with another key")
    if prompt is not None and prompt_digest(values[_SALT], prompt) != row["prompt_digest"]:
        raise _broken(number, "has another prompt than was asked")
    return AuditHead(count=number, seal=seal)


def _broken(number: int, what: str) -> AuditBroken:
    return AuditBroken(
        f"row {number:,} of the audit log {what}",
        hint="rows before it are what was written; compare the rest with a backup or an export",
    )


def export_audit(
    project: Project, *, since: str | None = None, until: str | None = None
) -> Iterator[dict[str, Any]]:
    """Every row with its seal and, where it is still there, its prompt; then the head of all.

    since, until: only rows of requests that came from the one time on and before the other, as
        `utc_now` writes times.
    """
    last = NO_ROWS
    with reading_audit(project) as log:
        for row in log.execute(_ALL) if log is not None else ():
            last = AuditHead(count=row["number"], seal=row["seal"])
            if (since is None or row["at"] >= since) and (until is None or row["at"] < until):
                yield {name: row[name] for name in (*SEALED, "prompt", "seal")}
    yield {"head": str(last)}


Relation = Literal["same log, further", "same log, behind", "another log", "damaged"]


def compare_audit(project: Project, copy: Path) -> Relation:
    """How the log of a project stands to a copy of one: whether its rows begin as the copy does.

    Equal rows count as further. A seal covers all rows before it, so one row is compared.
    """
    try:
        with reading_audit(project) as log, closing(_open_copy(copy)) as other:
            if log is None:
                return "same log, behind"
            here, there = (head_of(each.execute(LAST_ROW).fetchall()) for each in (log, other))
            if not here.count:
                return "same log, behind"
            names = [each.execute("SELECT id FROM log").fetchone() for each in (log, other)]
            last = min(here.count, there.count)
            query = "SELECT seal FROM entries WHERE number = ?"
            seals = [each.execute(query, (last,)).fetchone() for each in (log, other)]
            if [tuple(each or ()) for each in names[:1] + seals[:1]] != [
                tuple(each or ()) for each in names[1:] + seals[1:]
            ]:
                return "another log"
            return "same log, further" if here.count >= there.count else "same log, behind"
    except (DatabaseDamaged, sqlite3.Error):
        return "damaged"


def has_key_of(project: Project, copy: Path) -> bool:
    """Whether the key of a copy of an audit log is on this machine."""
    try:
        with closing(_open_copy(copy)) as log:
            name = log.execute("SELECT id FROM log").fetchone()
            load_key(project, name["id"])
    except (ModelyardError, sqlite3.Error, TypeError):
        return False
    return True


def _open_copy(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def reading_audit(
    project: Project, database: Database = AUDIT_DB
) -> Iterator[sqlite3.Connection | None]:
    """A connection that sees the log as it is now, also on a disk on which nothing can be written.

    None where there is no log. database: one that was set aside instead.
    """
    if not database.place(project).exists():
        yield None
        return
    with _broken_tables(), database.errors(project), ExitStack() as opened:
        try:
            connection = opened.enter_context(closing(database.connect(project)))
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM log").fetchall()
        except (sqlite3.OperationalError, *CANNOT_WRITE) as error:
            if isinstance(error, sqlite3.Error) and not cannot_write(error):
                raise
            unwritable = opened.enter_context(database.connect_unwritable(project))
            if unwritable is None:
                raise
            connection = unwritable
        yield connection
