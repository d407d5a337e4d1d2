"""Terms of the lexical index: stems without stop words, names whole and in parts, and bigrams.

Texts and queries are split by the same function, and SQLite only splits its result at spaces. So
`exclusive_lock`, "exclusive locks" and `exclusiveLock` have common terms, and `exclusive_lock` has
one more in common with itself.

Scripts without spaces between words (Chinese, Japanese, Thai and others), and Korean, which adds
particles to its words, are cut into overlapping pairs of characters: scripts.py has the rules.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from modelyard.retrieval.scripts import (
    NEEDS_SCRIPTS,
    SPACELESS,
    fold,
    list_mark_ranges,
    split_spaceless,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TERMS_VERSION = 2
"""Increased when a text gets other terms: indexes are then rebuilt in their place, with the vectors
that they have, and the old ones answer until then."""

TERM_SIGNS = "_-+#.:"
"""ASCII signs that a term may have beside letters and digits."""

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

_LONGEST_WORD = 200
"""Characters of a word that are used: a line of base64 is one long word."""
_REMEMBERED_WORDS = 500_000

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+|(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}")
"""Kept whole only: the runs of letters and of digits in a number mean nothing."""
_DECIMAL = re.compile(r"\d+\.\d+")
_MAY_GO_ON = re.compile(r"[-.:+#]|^_|_$")
_NAME_SIGNS = re.compile(r"[_\-+#.:]+")


class _RememberedTerms(dict[str, tuple[str, ...]]):
    """The terms of each word that was met."""

    def __missing__(self, word: str) -> tuple[str, ...]:
        terms = _split(word[:_LONGEST_WORD])
        if len(word) <= _LONGEST_WORD:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[word] = terms
        return terms


_terms_of_word = _RememberedTerms()


def _words(letters: str) -> str:
    """A pattern of words and names; `letters` matches letters and digits, one or more.

    Names stay in one piece: `__init__`, `foo::bar`, `--dry-run`, `web-01`, `10.0.0.1`, `3.11.2`,
    `C++`, `C#`, `.NET`. Other words with a hyphen, such as `read-only`, are two.
    """
    joined = rf"(?:::|(?<=[\w.]\w)-(?=[A-Za-z]*\d)|(?<=\d)\.(?=\d)){letters}"
    signs = r"(?:(?<=[A-Za-z])\+\+(?!\+)|(?<=\b[A-Z])#(?!\w))"
    name = rf"{letters}(?:(?=[:.+#-])(?:{joined})*{signs}?)?"
    option = rf"(?<![\w-].)-(?=[A-Za-z]){letters}(?:-{letters})*"
    dotted = rf"(?<=\.)(?<![\w.)\]\"']\.)(?=[A-Za-z]){letters}"
    return rf"{name}|[.-](?:{option}|{dotted})"


_WORD = re.compile(_words(r"\w+"))


@cache
def _word_of_any_script() -> re.Pattern[str]:
    """Like `_WORD`, with marks in words, and a run of characters without spaces by itself.

    Making it takes 15 ms, which an English text does not need.
    """
    marks = list_mark_ranges()
    letters = rf"[^\W{SPACELESS}]+(?:[{marks}]+[^\W{SPACELESS}]*)*"
    return re.compile(rf"(?P<spaceless>[{SPACELESS}][{SPACELESS}{marks}]*)|{_words(letters)}")


def index_terms(text: str) -> str:
    """The terms of a text in their order, separated by spaces, as the index stores them.

    Prose and code are treated alike, which was measured to be best for both.
    """
    terms: list[str] = []
    if not text.isascii() and NEEDS_SCRIPTS.search(text):
        for _, _, found in find_words(text):
            terms += found
    else:
        for word in _WORD.findall(text):
            terms += _terms_of_word[word]
    return " ".join(terms)


def query_terms(text: str) -> list[str]:
    """The terms of a query, each once, in the order of their first occurrence."""
    return list(dict.fromkeys(index_terms(text).split()))


def phrase_terms(phrase: str) -> list[str]:
    """Terms that a text with this phrase has: those of its words, and no name that may go on.

    The phrase `3.11` is in `3.11.2`, and `_lock` in `exclusive_lock`, which are other names.
    """
    terms: dict[str, None] = {}
    for _, _, found in find_words(phrase):
        may_go_on = found and _MAY_GO_ON.search(found[-1])
        terms |= dict.fromkeys(found[:-1] if may_go_on else found[-1:])
    return list(terms)


def find_words(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Each word of a text as (start, end, its terms); pairs of characters overlap."""
    if text.isascii() or not NEEDS_SCRIPTS.search(text):
        for found in _WORD.finditer(text):
            yield found.start(), found.end(), _terms_of_word[found[0]]
        return
    for found in _word_of_any_script().finditer(text):
        if found["spaceless"]:
            for start, end, terms in split_spaceless(found[0]):
                yield found.start() + start, found.start() + end, terms
        else:
            yield found.start(), found.end(), _terms_of_word[found[0]]


def _split(word: str) -> tuple[str, ...]:
    """The terms of one word: its stem, or for a name those of its parts and the whole.

    A number such as `1.5` is no name, and neither is a word with an underscore behind it.
    """
    if word.endswith("_") and not word.startswith("__"):
        word = word.strip("_")
    stem = _stemmer()
    pieces = [word] if word.isalnum() else [piece for piece in _NAME_SIGNS.split(word) if piece]
    parts = [part for piece in pieces for part in _parts(piece)]
    terms = [stem(part) for part in parts if part not in STOP_WORDS]
    is_name = len(parts) > 1 or (parts and len(pieces[0]) < len(word))
    if is_name and not _DECIMAL.fullmatch(word):
        terms.append(fold(word, TERM_SIGNS))
    return tuple(terms) if word.isascii() else tuple(term for term in terms if term)


def _parts(piece: str) -> list[str]:
    if piece.isalpha() and piece.islower() and piece.isascii():
        return [piece]
    if not piece.isascii() or _HEXADECIMAL.fullmatch(piece):
        return [fold(piece)]
    return [part.lower() for part in _PART.findall(piece)]


@cache
def _stemmer() -> Callable[[str], str]:
    """Porter's algorithm of 1980."""
    from Stemmer import Stemmer

    stemmer = Stemmer("porter")
    stemmer.maxCacheSize = 0  # the terms of each word are remembered here
    stem: Callable[[str], str] = stemmer.stemWord
    return stem
