"""Writing systems: which characters make a word, and what of a word does not count.

After Unicode's rules for words (UAX 29): a combining mark belongs to the character before it, so
Hindi and Thai keep their vowel signs and vocalised Arabic stays in one piece. Python's `\\w` leaves
marks out.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words, and Korean attaches
particles to them. They are cut into overlapping pairs of characters, and Chinese and Korean, where
one character can be a word, into single ones too. Source: Nie et al., On the Use of Words and
N-grams for Chinese Information Retrieval, IRAL 2000.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

SPACELESS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ecf\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u1050-\u108f\ua9e0-\ua9ef\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Korean
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese characters
    "\U00020000-\U0003ffff"
)
"""The characters of scripts without spaces, as they stand in a class of a regular expression."""

NEEDS_SCRIPTS = re.compile("[\u00ad\u0300-\u1dff\u200c\u200d\u20d0-\u20ff\u2c00-\U0010ffff]")
"""Found in a text with combining marks or a script without spaces, and in some others."""

_CLUSTER = re.compile(
    "[\u1100-\u115f][\u1160-\u11a7]*[\u11a8-\u11ff]*"  # a Korean syllable in its letters
    "|[\uff66-\uff9d][\uff9e\uff9f]?"  # a narrow Japanese one with its voicing
    "|."
)
_CAN_BE_A_WORD = re.compile(
    "[\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]"
)
_DROPPED = re.compile(
    "[\u00ad\u200b-\u200f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # hyphenation, joiners, variants
    "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"  # accents of Latin, Greek, Cyrillic
    "\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"  # vowels: Hebrew, Arabic
)
_LAST_MARK = 0x1FFFF
"""Beyond it, only variants of characters are marks."""


def fold(word: str, signs: str = "") -> str:
    """A word as it is compared: in lowercase, without accents, one form for one character.

    signs: ASCII signs that are kept; other characters that are no part of words are left out.
    """
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", word).casefold())
    kept = (
        letter
        for letter in _DROPPED.sub("", apart)
        if letter.isalnum() or letter in signs or is_mark(letter)
    )
    return unicodedata.normalize("NFC", "".join(kept))


def is_mark(character: str) -> bool:
    """Whether a character belongs to the one before it, as vowel signs and accents do."""
    return unicodedata.category(character)[0] == "M"


def list_mark_ranges() -> str:
    """All combining marks and joiners, as they stand in a class of a regular expression."""
    marks = [code for code in range(0x300, _LAST_MARK) if is_mark(chr(code))]
    breaks = [at for at, (one, next_) in enumerate(pairwise(marks), 1) if next_ != one + 1]
    runs = [marks[start:end] for start, end in pairwise([0, *breaks, len(marks)])]
    ranges = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
    return f"{ranges}\u00ad\u200c\u200d\U000e0100-\U000e01ef"


def split_spaceless(run: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """The terms of a run of characters without spaces, each with its start and end.

    A pair of neighbours is a term; so is a single one that can be a word, or that is all there is.
    """
    clusters: list[tuple[int, int, str]] = []
    for found in _CLUSTER.finditer(run):
        start, end = found.span()
        if clusters and is_mark(found[0][0]):
            start = clusters.pop()[0]
        clusters.append((start, end, fold(run[start:end])))
    for at, (start, end, single) in enumerate(clusters):
        if len(clusters) == 1 or _CAN_BE_A_WORD.match(single):
            yield start, end, (single,)
        for _, pair_end, following in clusters[at + 1 : at + 2]:
            yield start, pair_end, (single + following,)
