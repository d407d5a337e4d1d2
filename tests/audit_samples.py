"""Audit logs with rows of two organisations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from modelyard.access.audit import AuditLog
from modelyard.access.audit_reading import read_head
from modelyard.access.audit_rows import AuditHead
from modelyard.access.caller import AuditEntry
from modelyard.core.layout import Project


def entry(number: int = 0, **more: Any) -> AuditEntry:
    """A request; every other one is of marigold."""
    values: dict[str, Any] = {
        "at": "2026-11-30T10:00:00Z",
        "organisation": "marigold" if number % 2 else "edelweiss",
        "key_id": "0123456789ab",
        "route": "POST /v1/chat/completions",
        "model": f"adapter-{number}",
        "status": 200,
        "output_tokens": number,
        "latency_s": 0.25,
    }
    return AuditEntry(**{**values, **more})


def append(project: Project, numbers: Iterable[int], **more: Any) -> AuditHead:
    """Add rows as a service does; returns the head."""
    with closing(AuditLog(project)) as log:
        for number in numbers:
            log.append(entry(number, **more))
    return read_head(project)


def tamper(project: Project, *queries: str) -> None:
    """Change the file as somebody with a SQLite shell can."""
    with closing(sqlite3.connect(project.audit_log, isolation_level=None)) as connection:
        for query in queries:
            connection.execute(query)
