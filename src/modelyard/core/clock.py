"""Time, in two forms: UTC as people read it, and a number where there are millions of times."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> str:
    """The current time, such as `2026-11-22T14:31:49Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_text(at_ms: int) -> str:
    """A time in milliseconds since 1970 as `utc_now` writes it."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_utc(text: str) -> str | None:
    """A day or a time, in UTC unless it says otherwise, as `utc_now` writes it; None for another
    text."""
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now_ms() -> int:
    """The current time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
