"""Splitting the text of a file into chunks that fit the encoder, at the best places offered."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeVar

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.encoded_bytes import has_words

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""How many tokens each text has."""

LONGEST_TITLE = 300
"""Characters."""
_SMALL_SHARE = 5
"""A span below this fraction of the limit (a fifth) is joined with a neighbour where both fit."""
_LONGEST_TOKEN = 16
"""The most characters that a token has on average. A tokenizer counts a word of thousands of
characters as one unknown token, which this corrects.
"""
_LETTERS = re.compile(r"[A-Za-z0-9+/]+={0,2}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextDocument:
    """The lines of a file, and how many tokens each has."""

    text: str
    """All of it, without secrets."""
    lines: Sequence[str]
    """Without their ends."""
    limit: int
    """Longest chunk in tokens."""
    count_tokens: CountTokens
    """How many tokens each text has."""
    sums: Sequence[int]
    """Tokens of all lines before each line; one more entry than lines."""

    def tokens(self, start: int, end: int) -> int:
        """Tokens of lines [start, end); they add up, since no word spans two lines."""
        return self.sums[end] - self.sums[start]

    def is_blank(self, line: int) -> bool:
        return not self.lines[line].strip()

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """The same span without blank lines at its ends."""
        while start < end and self.is_blank(start):
            start += 1
        while end > start and self.is_blank(end - 1):
            end -= 1
        return start, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A span of lines that belongs together; it becomes several chunks when it is too long."""

    start: int
    """Its first line, from 0."""
    end: int
    """The line after its last."""
    title: str
    """What it stands under or is called."""
    kind: str
    """As in a chunk."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """As in a chunk."""
    breaks: Sequence[Sequence[int]] = ()
    """Lines before which it may be split, the best places first; at last, any line."""
    shown_from: int | None = None
    """The line that its chunk begins at, when that is above its text: a heading."""


def make_document(text: str, limit: int, count_tokens: CountTokens) -> TextDocument:
    """A text with the tokens of each line, counted in one call of the tokenizer."""
    count_tokens = _counting_long_words(count_tokens)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    *costs, empty = count_tokens([*lines, ""])
    sums = list(accumulate((max(0, cost - empty) for cost in costs), initial=0))
    return TextDocument(text, lines, max(1, limit - empty), count_tokens, sums)


def _counting_long_words(count_tokens: CountTokens) -> CountTokens:
    """The same count, but at least as many tokens as the letters of a text need."""

    def count(texts: Sequence[str]) -> Sequence[int]:
        return [
            counted
            if counted * _LONGEST_TOKEN >= len(text)
            else max(counted, math.ceil(sum(map(len, text.split())) / _LONGEST_TOKEN))
            for text, counted in zip(texts, count_tokens(texts), strict=True)
        ]

    return count


def split_into_chunks(document: TextDocument, pieces: Iterable[Piece]) -> list[Chunk]:
    """The chunks of a document's pieces, none longer than its limit with its title."""
    pieces = list(pieces)
    titles = [shorten(piece.title) for piece in pieces]
    *costs, empty = document.count_tokens([*titles, ""])
    chunks: list[Chunk] = []
    for piece, title, cost in zip(pieces, titles, costs, strict=True):
        limit = max(document.limit - (cost - empty), document.limit // 2, 1)
        first = piece.shown_from
        spans = pack(document, piece.start, piece.end, limit, piece.breaks)
        for start, end in join_neighbours(spans, partial(_join_small, document, limit)):
            begin, stop = document.trim(start, end)
            for text in _texts(document, begin, stop, limit):
                shown = begin if first is None else first
                chunks.append(
                    Chunk(
                        text=text,
                        title=title,
                        kind=piece.kind,
                        first_line=shown + 1,
                        last_line=stop,
                        facts=piece.facts,
                    )
                )
                first = None
    return chunks


def pack(
    document: TextDocument, start: int, end: int, limit: int, breaks: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    """Spans of lines [start, end) of at most `limit` tokens, nearly even, split at the best places.

    A span longer than the limit is a single line.
    """
    total = document.tokens(start, end)
    if total <= limit or end - start <= 1:
        yield start, end
        return
    inside = sorted({line for line in breaks[0] if start < line < end}) if breaks else []
    if breaks and not inside:
        yield from pack(document, start, end, limit, breaks[1:])
        return
    edges = [start, *inside, end] if inside else list(range(start, end + 1))
    goal = total / math.ceil(total / limit)
    begin = start
    for unit, after in pairwise(edges):
        if document.tokens(unit, after) > limit:
            if begin < unit:
                yield begin, unit
            yield from pack(document, unit, after, limit, breaks[1:])
            begin = after
        elif document.tokens(begin, after) > limit:
            yield begin, unit
            begin = unit
        if begin < after and document.tokens(begin, after) >= goal:
            yield begin, after
            begin = after
    if begin < end:
        yield begin, end


def _join_small(
    document: TextDocument, limit: int, left: tuple[int, int], right: tuple[int, int]
) -> tuple[int, int] | None:
    """Both spans as one, where one of them is small and both fit.

    Otherwise a line such as `try:`, before a block that is too long, would stand alone.
    """
    smaller = min(document.tokens(*left), document.tokens(*right))
    fits = document.tokens(left[0], right[1]) <= limit
    return (left[0], right[1]) if smaller <= limit // _SMALL_SHARE and fits else None


def join_neighbours(items: Iterable[T], join: Callable[[T, T], T | None]) -> Iterator[T]:
    """Items where each is joined with the one before it, unless `join` returns None."""
    held: T | None = None
    for item in items:
        joined = None if held is None else join(held, item)
        if held is not None and joined is None:
            yield held
        held = item if joined is None else joined
    if held is not None:
        yield held


def paragraph_starts(document: TextDocument, start: int, end: int) -> list[int]:
    """Lines of a span that follow a blank one."""
    return [
        line
        for line in range(max(start, 1), end)
        if document.is_blank(line - 1) and not document.is_blank(line)
    ]


def shorten(text: str, limit: int = LONGEST_TITLE) -> str:
    """A text on one line, shortened between words above `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


def split_words(text: str, limit: int, count_tokens: CountTokens) -> list[str]:
    """A long line in parts of at most `limit` tokens, split between words where there are any."""
    *_, empty = count_tokens([""])
    parts: list[str] = []
    shorter = [text]
    while shorter != parts:
        parts = shorter
        costs = count_tokens(parts)
        shorter = [
            piece
            for part, cost in zip(parts, costs, strict=True)
            for piece in _shorten_part(part, cost - empty, limit)
        ]
    return [part.strip() for part in parts if part.strip()]


def _shorten_part(text: str, cost: int, limit: int) -> Iterator[str]:
    """A part of `cost` tokens as it is where it fits, else in pieces of about `limit` tokens."""
    size = len(text)
    if cost > limit:
        size = max(1, min(int(size * limit / cost * 0.8), size // 2))
    place = 0
    while place < len(text):
        end = min(place + size, len(text))
        if end < len(text):
            space = text.rfind(" ", place + size // 2, end)
            end = space + 1 if space > 0 else end
        yield text[place:end]
        place = end


def _texts(document: TextDocument, start: int, end: int, limit: int) -> Iterator[str]:
    """The text of lines [start, end); a line above the limit in parts; nothing without words.

    Of such a line, parts inside a run of encoded bytes are left out, and the end of the run.
    """
    text = "\n".join(document.lines[start:end])
    if not has_words(text):
        return
    if end - start > 1 or document.tokens(start, end) <= limit:
        yield text
        return
    run = ""
    for part in split_words(text, limit, document.count_tokens):
        if not has_words(part) or (run and run + part in text and _LETTERS.fullmatch(part)):
            run = part
        else:
            run = ""
            yield part


def paragraph_pieces(document: TextDocument) -> Iterator[Piece]:
    """The whole text as one piece that may be split between paragraphs."""
    end = len(document.lines)
    yield Piece(
        start=0,
        end=end,
        title="",
        kind="text",
        breaks=(paragraph_starts(document, 0, end),),
    )
