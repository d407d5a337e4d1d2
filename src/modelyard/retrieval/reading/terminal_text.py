"""Text as a terminal shows it: without the codes that set colours and move the cursor."""

from __future__ import annotations

import re

_CODES = re.compile(
    r"(?:\x1b|#033|\\u001[bB])"
    r"(?:\[[0-9;:?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b\n]{0,400}(?:\x07|\x1b\\))"
)
"""CSI and OSC sequences of ECMA-48; rsyslog writes the escape character as `#033`,
and JSON as `\\u001b`."""

_ESCAPES = ("\x1b", "#033", "\\u001")


def strip_ansi(text: str) -> str:
    """The text without escape sequences; all of its line ends stay."""
    return _CODES.sub("", text) if any(sign in text for sign in _ESCAPES) else text
