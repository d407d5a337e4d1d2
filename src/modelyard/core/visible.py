"""Text that others wrote, in a form that a terminal or a page shows and does not obey."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible_text(text: str) -> str:
    """The text with every control character but newline and tab written out, such as `\\x1b`.

    Data and answers may hold escape sequences that clear a screen, set its title or hide what
    follows. For what people read; files of rows keep their text as it is.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
