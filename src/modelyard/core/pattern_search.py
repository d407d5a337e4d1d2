"""Regular expressions that somebody else wrote, searched in a bounded time.

Python's `re` may take longer than the universe lasts for forty letters, and neither a signal nor
another thread ends it. `regex` reads the same expressions, looks at the clock while it searches,
and lets other threads run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from regex import Pattern

_LONGEST_S = 1.0
"""A second searches megabytes with any expression that does not run wild."""


class SearchTooLong(ModelyardError):
    """A search for a regular expression was ended: it backtracks without end."""


def why_no_pattern(pattern: str) -> str | None:
    """What keeps a text from being a regular expression; None when it is one."""
    import regex

    try:
        _compiled(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        return str(error) or "it is nested too deeply"
    return None


def is_found(pattern: str, text: str, *, within_s: float = _LONGEST_S) -> bool:
    """Whether a regular expression is found anywhere in a text.

    within_s: seconds after which the search is given up.
    Raises SearchTooLong then; ValueError for what is no regular expression.
    """
    if why := why_no_pattern(pattern):
        raise ValueError(f"{pattern!r} is no regular expression: {why}")
    try:
        return _compiled(pattern).search(text, timeout=within_s, concurrent=True) is not None
    except TimeoutError as error:
        raise SearchTooLong(
            f"the regular expression {pattern!r} was searched for {within_s:g} s without an end",
            hint="write it without a repetition inside of a repetition, such as (a+)+",
        ) from error


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern[str]:
    import regex

    return regex.compile(pattern)
