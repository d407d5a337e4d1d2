"""Numbers and times as people read them, the same in every message."""

from __future__ import annotations


def megabytes(size_bytes: float) -> str:
    """A size such as `0.4 MB`, `23 MB` or `14.5 GB`."""
    if size_bytes >= 10e9:
        return f"{size_bytes / 1e9:,.1f} GB"
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 10e6 else f"{size_bytes / 1e6:,.1f} MB"


def counted(number: int, thing: str, things: str | None = None) -> str:
    """`1 version`, `2 versions`; `things` is a plural that does not end in s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def day_and_time(moment: str) -> str:
    """`2026-11-22 14:31` of an ISO 8601 time."""
    return moment[:16].replace("T", " ")
