"""Pins: versions that gc leaves alone until they are unpinned."""

from __future__ import annotations

from modelyard.adapters.versions import adapter_lock, version_numbers
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Yard
from modelyard.core.state import open_state


def load_pins(yard: Yard) -> dict[str, dict[int, str | None]]:
    """The pinned versions of every adapter, each with the reason that was given."""
    if not yard.state_db.exists():
        return {}
    pins: dict[str, dict[int, str | None]] = {}
    with open_state(yard) as state:
        for row in state.execute("SELECT * FROM pins ORDER BY adapter, version"):
            pins.setdefault(row["adapter"], {})[row["version"]] = row["reason"]
    return pins


def pin_version(
    yard: Yard, adapter: str, number: int, *, reason: str | None = None, wait_s: float = 0.0
) -> bool:
    """Pin a version; returns whether it was not pinned before. A pin keeps its first reason.

    Raises InvalidInput when there is no such version.
    """
    with adapter_lock(yard, adapter, wait_s=wait_s), open_state(yard) as state:
        if number not in version_numbers(yard, adapter):
            raise InvalidInput(f"there is no {adapter}@{number}")
        inserted = state.execute(
            "INSERT OR IGNORE INTO pins (adapter, version, reason, pinned_at) VALUES (?, ?, ?, ?)",
            (adapter, number, reason, utc_now()),
        )
        return inserted.rowcount > 0


def unpin_version(yard: Yard, adapter: str, number: int, *, wait_s: float = 0.0) -> bool:
    """Take a version's pin away; returns whether it had one."""
    with adapter_lock(yard, adapter, wait_s=wait_s), open_state(yard) as state:
        deleted = state.execute(
            "DELETE FROM pins WHERE adapter = ? AND version = ?", (adapter, number)
        )
        return deleted.rowcount > 0
