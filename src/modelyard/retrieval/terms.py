"""Terms of the lexical index: stems without stop words, and identifiers whole and in parts.

Texts and queries are split by the same function, and SQLite only splits its result at spaces. So
`exclusive_lock`, "exclusive locks" and `exclusiveLock` have common terms, and `exclusive_lock` has
one more in common with itself.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TERMS_VERSION = 1
"""Increased when a text gets other terms: indexes are then rebuilt in their place, with the vectors
that they have, and the old ones answer until then."""

STOP_WORDS = frozenset(
    """
    a about above after again all am an and any are as at be because been before being below
    between both but by can cannot could did do does doing down during each few for from further
    had has have having he her here hers him his how i if in into is it its itself just me more
    most my no nor not now of off on once only or other our out over own same she should so some
    such than that the their them then there these they this those through to too under until up
    very was we were what when where which while who whom why will with would you your
    """.split()  # noqa: SIM905
)

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_LONGEST_WORD = 200
"""Characters of a word that are used: a line of base64 is one long word."""
_REMEMBERED_WORDS = 500_000

_terms_of_word: dict[str, tuple[str, ...]] = {}


def index_terms(text: str) -> str:
    """The terms of a text in their order, separated by spaces, as the index stores them.

    Prose and code are treated alike, which was measured to be best for both.
    """
    terms: list[str] = []
    for word in _WORD.findall(text):
        terms += _terms_of_word.get(word) or terms_of(word[:_LONGEST_WORD])
    return " ".join(terms)


def query_terms(text: str) -> list[str]:
    """The terms of a query, each once, in the order of their first occurrence."""
    return list(dict.fromkeys(index_terms(text).split()))


def find_words(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Each word of a text as (start, end, its terms)."""
    for found in _WORD.finditer(text):
        word = found[0][:_LONGEST_WORD]
        yield found.start(), found.end(), _terms_of_word.get(word) or terms_of(word)


def terms_of(word: str) -> tuple[str, ...]:
    """The terms of one word: its stem, or for an identifier those of its parts and the whole."""
    known = _terms_of_word.get(word)
    if known is None:
        if len(_terms_of_word) >= _REMEMBERED_WORDS:
            _terms_of_word.clear()
        known = _terms_of_word[word] = _split(word)
    return known


def _split(word: str) -> tuple[str, ...]:
    stem = _stemmer()
    parts = [
        part.lower()
        for piece in word.split("_")
        for part in (_PART.findall(piece) if piece.isascii() else [_normalize(piece)])
    ]
    terms = [stem(part) for part in parts if part not in STOP_WORDS]
    if len(parts) > 1:
        terms.append(_normalize(word))
    return tuple(term for term in terms if term)


def _normalize(word: str) -> str:
    """The word in lowercase without accents, which SQLite's tokenizer leaves as it is."""
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFKD", word.lower())
    return "".join(letter for letter in apart if letter == "_" or letter.isalnum())


@cache
def _stemmer() -> Callable[[str], str]:
    """Porter's algorithm of 1980."""
    from Stemmer import Stemmer

    stemmer = Stemmer("porter")
    stemmer.maxCacheSize = 0  # the terms of each word are remembered here
    stem: Callable[[str], str] = stemmer.stemWord
    return stem
