"""Pins: versions that gc leaves alone until they are unpinned."""

from __future__ import annotations

from modelyard.adapters.versions import adapter_lock, version_numbers
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.state import open_state


def load_pins(project: Project) -> dict[str, dict[int, str | None]]:
    """The pinned versions of every adapter, each with the reason that was given."""
    if not project.state_db.exists():
        return {}
    pins: dict[str, dict[int, str | None]] = {}
    with open_state(project) as state:
        for row in state.execute("SELECT * FROM pins ORDER BY adapter, version"):
            pins.setdefault(row["adapter"], {})[row["version"]] = row["reason"]
    return pins


def pin_version(
    project: Project, adapter: str, number: int, *, reason: str | None = None, wait_s: float = 0.0
) -> bool:
    """Pin a version; returns whether it was not pinned before. A pin keeps its first reason.

    Raises InvalidInput when there is no such version.
    """
    with adapter_lock(project, adapter, wait_s=wait_s), open_state(project) as state:
        if number not in version_numbers(project, adapter):
            raise InvalidInput(f"there is no {adapter}@{number}")
        inserted = state.execute(
            "INSERT OR IGNORE INTO pins (adapter, version, reason, pinned_at) VALUES (?, ?, ?, ?)",
            (adapter, number, reason, utc_now()),
        )
        return inserted.rowcount > 0


def unpin_version(project: Project, adapter: str, number: int, *, wait_s: float = 0.0) -> bool:
    """Take a version's pin away; returns whether it had one."""
    with adapter_lock(project, adapter, wait_s=wait_s), open_state(project) as state:
        deleted = state.execute(
            "DELETE FROM pins WHERE adapter = ? AND version = ?", (adapter, number)
        )
        return deleted.rowcount > 0
