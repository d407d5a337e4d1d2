"""A key is never shown, also when a server repeats it: in an answer, an error or an id."""

from __future__ import annotations

from modelyard.core.wording import visible_line
from modelyard.secrets.forms import find_known_forms

MASK = "***"

_SHORTEST_PART = 8
"""Letters of a key that give some of it away."""
_LONGEST_WORD = 20
"""A shorter key without a digit is a word that endpoints want instead of one: `not-needed`."""
_LONGEST_SHOWN = 300


def is_secret(key: str) -> bool:
    """Whether a key is more than a word that stands in for one, such as `ollama` or `EMPTY`."""
    if any(map(str.isdigit, key)):
        return len(key) >= _SHORTEST_PART - 1
    return len(key) > _LONGEST_WORD


def mask_said(text: str, key: str | None) -> str:
    """What a server said, in one line, without the key, parts of it, and other secrets."""
    hidden = bytearray(len(text))
    if key:
        size = min(len(key), _SHORTEST_PART)
        for start in range(len(key) - size + 1):
            part = key[start : start + size]
            place = text.find(part)
            while place >= 0:
                hidden[place : place + size] = b"\1" * size
                place = text.find(part, place + 1)
    for _, first, last in find_known_forms(text):
        hidden[first:last] = b"\1" * (last - first)
    masked = []
    for place, letter in enumerate(text):
        if not hidden[place]:
            masked.append(letter)
        elif not (place and hidden[place - 1]):
            masked.append(MASK)
    return visible_line("".join(masked))[:_LONGEST_SHOWN]


class MaskedText:
    """A text that comes in pieces, without a key in it and with whole characters only.

    What may be the beginning of the key, or of a character beyond U+FFFF whose halves came apart,
    waits for the next piece.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key if key and is_secret(key) else None
        self._waiting = ""

    def add(self, piece: str) -> str:
        """What can be shown now."""
        text = self._waiting + piece
        if self._key is not None:
            text = text.replace(self._key, MASK)
        kept = self._open_end(text)
        self._waiting = text[len(text) - kept :]
        return _whole(text[: len(text) - kept])

    def end(self) -> str:
        """What was still waiting."""
        text, self._waiting = self._waiting, ""
        return _whole(text)

    def _open_end(self, text: str) -> int:
        """How many characters at the end may continue."""
        if text and "\ud800" <= text[-1] <= "\udbff":
            return 1
        if self._key is not None and text and text[-1] in self._key:
            for size in range(min(len(self._key) - 1, len(text)), 0, -1):
                if text.endswith(self._key[:size]):
                    return size
        return 0


def _whole(text: str) -> str:
    """The text with halves of characters joined, and lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
