"""Time, in one form: UTC, ISO 8601, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """The current time, such as `2026-11-22T14:31:49Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
