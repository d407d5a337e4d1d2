"""Text as a terminal shows it: without the codes that set colours and move the cursor."""

from __future__ import annotations

import re

_CODES = re.compile(
    r"(?:\x1b|#033)(?:\[[0-9;:?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b\n]{0,400}(?:\x07|\x1b\\))"
)
"""CSI and OSC sequences of ECMA-48; rsyslog writes the escape character as `#033`."""


def strip_ansi(text: str) -> str:
    """The text without escape sequences; all of its line ends stay."""
    return _CODES.sub("", text) if "\x1b" in text or "#033" in text else text
