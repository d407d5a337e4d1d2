"""What a server repeats of a request: an error may quote it, and records hold no texts."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENOUGH = 12
"""So many bytes of letters and digits in a row are taken for a part of the request: two or three
words of English, four characters of Chinese."""


def without_request(reason: str, texts: Iterable[str]) -> str:
    """The reason of a failure as it may be kept, where others read it.

    reason: such as `HTTP 503: what the server said`.  texts: those of the request.
    What the server said is left out where it shares a few words or a number with the request: too
    much rather than too little, since all that is lost is the wording of an error.
    """
    kind, _, said = reason.partition(": ")
    if said and _repeats(said, texts):
        return f"{kind}, in words of the request"
    return reason


def _repeats(said: str, texts: Iterable[str]) -> bool:
    letters, numbers = _letters(said), _numbers(said)
    parts = {letters[start : start + _ENOUGH] for start in range(len(letters) - _ENOUGH + 1)}
    for text in texts:
        asked = _letters(text)
        if len(asked) <= _ENOUGH and asked and asked in letters:
            return True
        if any(part in asked for part in parts) or not numbers.isdisjoint(_numbers(text)):
            return True
    return False


def _letters(text: str) -> bytes:
    """The letters and digits, without what escapes and line ends may change."""
    return "".join(re.findall(r"\w+", text.casefold())).encode("utf-8", "replace")


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d{4,}", text))
