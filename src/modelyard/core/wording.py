"""Numbers as messages say them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A count with its noun: `1 row`, `2 rows`, `1,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
