"""Parsing a query: its terms, its quoted phrases, and the names in it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from unicodedata import normalize

from modelyard.retrieval.terms import index_terms

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
_PATH = re.compile(r"(?<![\w/.-])(?:[\w.-]+/)+[\w.-]*\w")
_FILE = re.compile(r"(?<![\w/.-])[\w-]{2}[\w.-]*\.[A-Za-z][A-Za-z0-9]{0,5}\b(?![\w/(])")
_CALL = re.compile(r"\b[A-Za-z_][\w.]*(?=\(\))")
_DOTTED = re.compile(r"\b[A-Za-z_]\w+(?:\.[A-Za-z_]\w+)+\b")
_SNAKE = re.compile(r"\b[A-Za-z]\w*_\w*[A-Za-z0-9]\b")
_CAMEL = re.compile(r"\b(?:[a-z]+[A-Z]\w*|(?:[A-Z][a-z0-9]+){2,})\b")
_NUMBERED = re.compile(
    r"(?<![\w.-])(?:[A-Za-z]\w*(?:-[A-Za-z]*\d\w*)+|(?=\w{4})[A-Za-z]+\d\w*"
    r"|0[xX][0-9A-Fa-f]+|\d+(?:\.\d+){2,3})(?![\w-])"
)
"""Of hosts and errors, hexadecimal numbers, versions of three parts and addresses."""
_QUALIFIED = re.compile(r"\b[A-Za-z_]\w*(?:(?:::|->|#)~?[A-Za-z_]\w*)+")
_SYMBOL = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|::|->|#)[A-Za-z_$][\w$]*)*[!?=]?")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A parsed query."""

    text: str
    """As it was typed, without quotes; its vector is that of this text."""
    terms: tuple[str, ...]
    """The stems and identifiers for BM25, each once."""
    often: tuple[int, ...] = ()
    """How often the query has each of them; a pasted log repeats what it is about."""
    phrases: tuple[str, ...] = ()
    """Quoted text that each result must have."""
    names: tuple[str, ...] = ()
    """Symbols, file names and paths; where the index has one, the lexical score weighs more."""

    @property
    def counts(self) -> dict[str, int]:
        """How often the query has each term."""
        return dict(zip(self.terms, self.often, strict=True))

    @property
    def symbols(self) -> tuple[str, ...]:
        """What may be the name of a definition: the names, or the whole of a query of one word."""
        bare = self.text.strip("()`'\"")
        if self.names or not _SYMBOL.fullmatch(bare):
            return self.names
        return (bare,)


def parse_query(text: str) -> Query:
    """Parse a query as it was typed."""
    phrases = [_SPACES.sub(" ", quoted or curly).strip() for quoted, curly in _QUOTED.findall(text)]
    plain = _SPACES.sub(" ", _QUOTED.sub(lambda found: f" {found[1] or found[2]} ", text)).strip()
    names = [
        found
        for pattern in (_PATH, _FILE, _CALL, _DOTTED, _QUALIFIED, _SNAKE, _CAMEL, _NUMBERED)
        for found in pattern.findall(plain)
    ]
    terms = Counter(index_terms(plain).split())
    return Query(
        text=plain,
        terms=tuple(terms),
        often=tuple(terms.values()),
        phrases=tuple(dict.fromkeys(phrase for phrase in phrases if phrase)),
        names=_longest_only(names),
    )


def find_mentions(text: str) -> tuple[str, ...]:
    """The paths, file names and symbols that a chunk names, each once, in any order."""
    found = [name for pattern in (_PATH, _FILE, _CALL, _SNAKE) for name in pattern.findall(text)]
    return tuple(dict.fromkeys(found))


def has_phrase(text: str, phrase: str) -> bool:
    """Whether a text has a quoted phrase; case, line ends and Unicode forms do not matter."""
    return _as_compared(phrase) in _as_compared(_SPACES.sub(" ", text))


def _as_compared(text: str) -> str:
    return text.casefold() if text.isascii() else normalize("NFKC", text).casefold()


def _longest_only(names: list[str]) -> tuple[str, ...]:
    """Each name once, without those that are part of another."""
    unique = dict.fromkeys(names)
    return tuple(
        name for name in unique if not any(name != other and name in other for other in unique)
    )
