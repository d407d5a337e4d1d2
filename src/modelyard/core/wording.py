"""Text for people: numbers and times the same in every message, and untrusted text made safe."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHOWN_NAMES = 20
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that terminals interpret: ASCII and C1 controls, line ends, and bidi controls."""


def visible_text(text: str) -> str:
    """The text with every control character but newline and tab escaped, such as `\\x1b`.

    Bidi controls are escaped too: `\\u202e` makes a text look like another.

    Data and answers may hold escape sequences that clear a screen, set its title or hide what
    follows. For what people read; files of rows keep their text as it is.
    """
    return _CONTROL.sub(lambda found: _escape(ord(found[0])), text)


def visible_line(text: str) -> str:
    """The same in one line: a file name may contain a newline."""
    return visible_text(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def megabytes(size_bytes: float) -> str:
    """A size such as `0.4 MB`, `23 MB` or `14.5 GB`."""
    if size_bytes >= 10e9:
        return f"{size_bytes / 1e9:,.1f} GB"
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 10e6 else f"{size_bytes / 1e6:,.1f} MB"


def counted(number: float, thing: str, things: str | None = None) -> str:
    """`1 version`, `2 versions`, `0.5 epochs`; `things` is a plural that does not just add an s."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:,g}"
    return f"{shown} {thing if number == 1 else things or f'{thing}s'}"


def first_names(names: Sequence[str]) -> str:
    """`a, b` and, after the first twenty, how many more there are."""
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def day_and_time(moment: str) -> str:
    """`2026-11-22 14:31` of an ISO 8601 time."""
    return moment[:16].replace("T", " ")
