"""Snippets: the few lines of a passage that say most about a query, with its terms marked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from modelyard.retrieval.words import find_words

_LINES = 4
_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of a passage."""

    text: str
    """Its lines."""
    first_line: int
    """The first of them in the file."""
    marks: tuple[tuple[int, int], ...] = ()
    """What matched, as (start, end) in the text."""

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text piece by piece, each with whether it matched."""
        place = 0
        for start, end in self.marks:
            yield self.text[place:start], False
            yield self.text[start:end], True
            place = end
        yield self.text[place:], False

    def marked(self, before: str, after: str) -> str:
        """The text with each match between two marks."""
        return "".join(
            f"{before}{piece}{after}" if matched else piece for piece, matched in self.pieces()
        )


def cut_snippet(text: str, terms: Collection[str], *, first_line: int = 1) -> Snippet:
    """The lines that have the most of the terms, the earliest of equals; at most a few.

    first_line: where the passage begins in its file.
    """
    lines = text.splitlines()
    wanted = frozenset(terms)
    found = [_matching_terms(line, wanted) for line in lines]
    best = max(range(len(lines)), key=lambda at: (_worth(found, at), -at), default=0)
    chosen = lines[best : best + _LINES]
    while chosen and not chosen[-1].strip():
        chosen.pop()
    shown = "\n".join(_shorten(line, wanted) for line in chosen)
    marks = [(start, end) for start, end, has in find_words(shown) if wanted.intersection(has)]
    return Snippet(text=shown, first_line=first_line + best, marks=tuple(marks))


def _matching_terms(line: str, wanted: frozenset[str]) -> frozenset[str]:
    return frozenset(term for _, _, has in find_words(line) for term in has) & wanted


def _worth(found: list[frozenset[str]], at: int) -> tuple[int, int]:
    """Terms in the lines from here, and then whether the first of them has any."""
    together = frozenset[str]().union(*found[at : at + _LINES])
    return len(together), int(bool(found[at]))


def _shorten(line: str, wanted: frozenset[str]) -> str:
    """A line that fits, around its first match."""
    if len(line) <= _LONGEST_LINE:
        return line
    matches = (start for start, _, has in find_words(line) if wanted.intersection(has))
    start = max(0, next(matches, 0) - _LONGEST_LINE // 4)
    end = start + _LONGEST_LINE
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
