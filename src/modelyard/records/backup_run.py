"""Backups, drills and restores that ended: rows of state.db, so that their age can be watched."""

from __future__ import annotations

import os
import pwd
import secrets
import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Literal

from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state

BackupKind = Literal["backup", "drill", "restore"]


def new_run_id() -> str:
    """A random id."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRun:
    """A backup, a drill, or a restore over the project, that ended."""

    kind: BackupKind
    """Which of them."""
    repository: str
    """The address of the repository."""
    snapshot: str
    """The name of the snapshot."""
    ok: bool
    """Whether nothing was left out, and nothing found wrong."""
    made_by: str
    """The user of the machine."""
    ended_at: str = field(default_factory=utc_now)
    """When, UTC."""
    id: str = field(default_factory=new_run_id)
    """Random."""


def note_backup_run(
    project: Project, kind: BackupKind, repository: str, snapshot: str, *, ok: bool
) -> None:
    """Record a run that ended now, where state.db can be written; where not, nothing is lost."""
    run = BackupRun(kind=kind, repository=repository, snapshot=snapshot, ok=ok, made_by=user_name())
    with suppress(ModelyardError):
        record_backup_run(project, run)


def record_backup_run(project: Project, run: BackupRun) -> None:
    """Record a run in state.db. Raises ModelyardError when that cannot be written."""
    with open_state(project) as state:
        insert_backup_run(state, run)


def insert_backup_run(state: sqlite3.Connection, run: BackupRun) -> None:
    """Record a run in an open state.db, for instance within a transaction."""
    values = asdict(run)
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    state.execute(f"INSERT INTO backup_runs ({columns}) VALUES ({places})", values)


def user_name() -> str:
    """The user of the machine who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def last_good_run(project: Project, kind: BackupKind) -> BackupRun | None:
    """The newest run of a kind that went well; None when there is none. Changes nothing."""
    query = "SELECT * FROM backup_runs WHERE kind = ? AND ok = 1 ORDER BY ended_at DESC LIMIT 1"
    for row in read_state(project, query, (kind,)):
        return BackupRun(**{**dict(row), "ok": bool(row["ok"])})
    return None


def knows_snapshot(state: sqlite3.Connection, snapshot: str) -> bool:
    """Whether an open state.db developed from the one in a snapshot: it recorded its making."""
    query = "SELECT 1 FROM backup_runs WHERE kind = 'backup' AND snapshot = ?"
    return state.execute(query, (snapshot,)).fetchone() is not None
