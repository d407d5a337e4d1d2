"""Bytes that a text holds as letters: pictures, certificates and archives in base64 or hex.

They are recognised before secrets are masked. Masking hides a random run here and there, and what
is left between the masks would look like words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SAYS_SOMETHING = re.compile(r"\w")
_ENCODED = re.compile(
    r"(?:^[A-Za-z0-9+/]{60,}={0,2}\n)+[A-Za-z0-9+/]{1,59}={0,2}$|[A-Za-z0-9+/]{60,}={0,2}",
    re.MULTILINE,
)
"""Bytes as hex or base64, which are longer than any word; the last of several lines is shorter."""
_BLOCK = re.compile(
    r"(?:^[ \t\"'#>*]{0,40}[A-Za-z0-9+/]{60,}={0,2}[\"',\\]{0,3}(?:\\n[\"',]{0,2})?\r?\n){3,}"
    r"(?:[ \t\"'#>*]{0,40}[A-Za-z0-9+/]{1,100}={0,2}(?![^\s\"',]))?",
    re.MULTILINE,
)
"""Lines of base64 below each other, indented or quoted; the last one is shorter."""
_RUN = re.compile(r"[A-Za-z0-9+/_-]{60,}={0,2}")
_ALWAYS = 200
"""Characters; a run this long is no word, path or digest whatever its letters."""
_LEAST_DIFFERENT = 8
"""Different characters of a run, so that a line of dashes is none."""
_LIKE_WORDS = re.compile(r"[a-z]{10}|[/_-][a-z]{4}")
"""What base64 of less than 200 characters rarely has, and long names and paths do."""
_LEAST_DIGITS = 1 / 12
"""Share of digits in a shorter run; base64 has 10 of 64, names in CamelCase few."""


def has_words(text: str) -> bool:
    """Whether a text has words to find it by, besides bytes as hex or base64."""
    return _SAYS_SOMETHING.search(_ENCODED.sub(" ", text)) is not None


def encoded_spans(text: str) -> Iterator[tuple[int, int]]:
    """Each stretch of encoded bytes, as its start and end; digests, names and paths are none."""
    for block in _BLOCK.finditer(text):
        yield block.span()
    for run in _RUN.finditer(text):
        if _looks_encoded(run[0]):
            yield run.span()


def _looks_encoded(run: str) -> bool:
    if len(run) >= _ALWAYS:
        return len(set(run)) > _LEAST_DIFFERENT
    is_mixed = not (run.islower() or run.isupper())
    digits = sum(map(str.isdigit, run))
    return is_mixed and digits >= _LEAST_DIGITS * len(run) and not _LIKE_WORDS.search(run)
