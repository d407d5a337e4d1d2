"""Splitting the text of a file into chunks that fit the encoder, at the best places offered."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from modelyard.retrieval.chunk import Chunk

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""How many tokens each text has."""

LONGEST_TITLE = 300
"""Characters."""
_CRUMB = 5
"""A span of less than this part of the limit does not stand alone where it need not."""
_LONGEST_TOKEN = 16
"""Characters that a token has at most in the mean: a tokenizer gives a word of thousands of them
as one token that it does not know.
"""


@dataclass(frozen=True, slots=True)
class Document:
    """The lines of a file, and what each costs."""

    path: str
    """From the project's root."""
    text: str
    """All of it, with nothing secret left."""
    lines: Sequence[str]
    """Without their ends."""
    limit: int
    """Longest chunk in tokens."""
    count_tokens: CountTokens
    """How many tokens each text has."""
    sums: Sequence[int]
    """Tokens of all lines before each line; one more entry than lines."""

    def tokens(self, start: int, end: int) -> int:
        """Tokens of lines [start, end): words end where lines do, so they add up."""
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
    """Lines before which it may be cut, the best places first; in the end, any line."""
    shown_from: int | None = None
    """The line that it is said to begin at, when that is above its text: a heading."""


def make_document(path: str, text: str, limit: int, count_tokens: CountTokens) -> Document:
    """A text with the cost of each of its lines; one call of the tokenizer."""
    count_tokens = _counting_long_words(count_tokens)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    *costs, empty = count_tokens([*lines, ""])
    sums = list(accumulate((max(0, cost - empty) for cost in costs), initial=0))
    return Document(path, text, lines, max(1, limit - empty), count_tokens, sums)


def _counting_long_words(count_tokens: CountTokens) -> CountTokens:
    """The same count, but never less than so many characters can be."""

    def count(texts: Sequence[str]) -> Sequence[int]:
        return [
            counted if counted * _LONGEST_TOKEN >= len(text) else max(counted, _least_tokens(text))
            for text, counted in zip(texts, count_tokens(texts), strict=True)
        ]

    return count


def _least_tokens(text: str) -> int:
    return math.ceil(sum(map(len, text.split())) / _LONGEST_TOKEN)


def cut(document: Document, pieces: Iterable[Piece]) -> list[Chunk]:
    """The chunks of a document's pieces, none longer than its limit with its title."""
    pieces = list(pieces)
    titles = [shorten(piece.title) for piece in pieces]
    *costs, empty = document.count_tokens([*titles, ""])
    chunks: list[Chunk] = []
    for piece, title, cost in zip(pieces, titles, costs, strict=True):
        limit = max(document.limit - (cost - empty), document.limit // 2, 1)
        first = piece.shown_from
        spans = pack(document, piece.start, piece.end, limit, piece.breaks)
        for start, end in _join_small(document, spans, limit):
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
    document: Document, start: int, end: int, limit: int, breaks: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    """Spans of lines [start, end) of at most `limit` tokens, nearly even, cut at the best places.

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
    document: Document, spans: Iterable[tuple[int, int]], limit: int
) -> Iterator[tuple[int, int]]:
    """Spans without crumbs: a small one goes to a neighbour where both fit, the one before first.

    A line such as `try:` that opens what is too long by itself would stand alone otherwise.
    """
    held: tuple[int, int] | None = None
    for span in spans:
        if held is None:
            held = span
            continue
        least = min(document.tokens(*held), document.tokens(*span))
        if least <= limit // _CRUMB and document.tokens(held[0], span[1]) <= limit:
            held = (held[0], span[1])
            continue
        yield held
        held = span
    if held is not None:
        yield held


def paragraph_starts(document: Document, start: int, end: int) -> list[int]:
    """Lines of a span that follow a blank one."""
    return [
        line
        for line in range(max(start, 1), end)
        if document.is_blank(line - 1) and not document.is_blank(line)
    ]


def shorten(title: str) -> str:
    """A title on one line, cut at a word when it is very long."""
    title = " ".join(title.split())
    if len(title) <= LONGEST_TITLE:
        return title
    return title[:LONGEST_TITLE].rsplit(" ", 1)[0] + " …"


def split_words(text: str, limit: int, count_tokens: CountTokens) -> list[str]:
    """A long line in parts of at most `limit` tokens, cut between words where there are any."""
    *_, empty = count_tokens([""])
    parts, fitting = [text], False
    while not fitting:
        counts = count_tokens(parts)
        fitting = True
        cut_parts: list[str] = []
        for part, cost in zip(parts, counts, strict=True):
            if cost - empty <= limit or len(part) <= 1:
                cut_parts.append(part)
                continue
            fitting = False
            size = max(1, min(int(len(part) * limit / (cost - empty) * 0.8), len(part) // 2))
            cut_parts.extend(_by_size(part, size))
        parts = cut_parts
    return [part for part in (part.strip() for part in parts) if part]


def _by_size(text: str, size: int) -> Iterator[str]:
    place = 0
    while place < len(text):
        end = min(place + size, len(text))
        if end < len(text):
            space = text.rfind(" ", place + size // 2, end)
            end = space + 1 if space > 0 else end
        yield text[place:end]
        place = end


_SAYS_SOMETHING = re.compile(r"\w")
_ENCODED = re.compile(
    r"(?:^[A-Za-z0-9+/]{60,}={0,2}\n)+[A-Za-z0-9+/]{1,59}={0,2}$|[A-Za-z0-9+/]{60,}={0,2}",
    re.MULTILINE,
)
"""Bytes written in letters, as hex or base64: longer than any word. Of several lines the last is
shorter.
"""

_LETTERS = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def has_words(text: str) -> bool:
    """Whether there is anything to find a text by, besides bytes written in letters."""
    return _SAYS_SOMETHING.search(_ENCODED.sub(" ", text)) is not None


def _texts(document: Document, start: int, end: int, limit: int) -> list[str]:
    text = "\n".join(document.lines[start:end])
    if not has_words(text):
        return []
    if end - start > 1 or document.tokens(start, end) <= limit:
        return [text]
    return list(_with_words(text, split_words(text, limit, document.count_tokens)))


def _with_words(text: str, parts: Iterable[str]) -> Iterator[str]:
    """Parts of a line, without those inside a run of bytes written in letters, and its end."""
    run = ""
    for part in parts:
        if not has_words(part) or (run and run + part in text and _LETTERS.fullmatch(part)):
            run = part
            continue
        run = ""
        yield part


def paragraph_pieces(document: Document) -> Iterator[Piece]:
    """The whole text as one piece that is cut between paragraphs."""
    end = len(document.lines)
    yield Piece(
        start=0,
        end=end,
        title="",
        kind="text",
        breaks=(paragraph_starts(document, 0, end),),
    )
