"""Markdown by heading, with the trail of headings above it.

Headings are those of CommonMark (0.31, 4.2 and 4.3), front matter that of static sites.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from modelyard.retrieval.reading.splitting import (
    Piece,
    TextDocument,
    join_neighbours,
    paragraph_starts,
)

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_PARAGRAPH = re.compile(r" {0,3}(?:[>|#]|[-+*][ \t]|\d{1,9}[.)][ \t])| {4}|\t")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKUP = re.compile(r"`|\*\*|__|<[^<>]{1,200}>")
_LONGEST_FRONT_MATTER = 200


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading with its text up to the next heading; or several of these, joined."""

    start: int
    """The line of the heading."""
    body: int
    """The line where the text begins; the heading's own line, where the title lacks it."""
    end: int
    """The line after the last."""
    trail: tuple[str, ...]
    """The headings that all of it stands under: its title."""
    first: tuple[str, ...]
    """The trail of the heading at its start."""


def markdown_pieces(document: TextDocument) -> Iterator[Piece]:
    """One piece for each heading; tiny neighbours are joined under the heading they share.

    A heading with only further headings under it is part of their titles.
    """
    fenced = _fenced_lines(document)
    front = _front_matter_end(document)
    if front:
        yield Piece(start=1, end=front - 1, title="front matter", kind="key", shown_from=0)
    starts = [
        line for line in paragraph_starts(document, 0, len(document.lines)) if not fenced[line]
    ]
    sections = _sections(document, fenced, front)
    for section in join_neighbours(sections, partial(_join_tiny, document)):
        yield Piece(
            start=section.body,
            end=section.end,
            title=" > ".join(section.trail),
            kind="section",
            breaks=(
                starts,
                [line for line in range(section.body, section.end) if not fenced[line]],
            ),
            shown_from=section.start,
        )


def plain_words(heading: str) -> str:
    """A heading's words without its markup."""
    return " ".join(_MARKUP.sub("", _LINK.sub(r"\1", heading)).split())


def _fenced_lines(document: TextDocument) -> list[bool]:
    """Whether each line is in fenced code, after its opening line."""
    fenced, fence = [], ""
    for line in document.lines:
        fenced.append(bool(fence))
        match = _FENCE.match(line)
        if not fence and match:
            fence = match[1]
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
    return fenced


def _front_matter_end(document: TextDocument) -> int:
    if document.lines[0].rstrip() != "---":
        return 0
    for line in range(1, min(len(document.lines), _LONGEST_FRONT_MATTER)):
        if document.lines[line].rstrip() in ("---", "..."):
            return line + 1
    return 0


def _sections(document: TextDocument, fenced: list[bool], first: int) -> Iterator[_Section]:
    trail: list[tuple[int, str]] = []
    start = body = first
    for line in range(first, len(document.lines)):
        heading = None if fenced[line] else _heading(document, line, body)
        if heading is None:
            continue
        level, words, head, after = heading
        deeper = bool(trail) and trail[-1][0] < level
        yield from _section(document, start, body, head, trail, has_subheading=deeper)
        trail = [*(above for above in trail if above[0] < level), (level, words)]
        start, body = head, after
    yield from _section(document, start, body, len(document.lines), trail, has_subheading=False)


def _section(
    document: TextDocument,
    start: int,
    body: int,
    end: int,
    trail: list[tuple[int, str]],
    *,
    has_subheading: bool,
) -> Iterator[_Section]:
    """A heading with its text; one without text is the text itself, unless subheadings name it."""
    begin, stop = document.trim(body, end)
    words = tuple(words for _, words in trail)
    if begin < stop:
        yield _Section(start, body, stop, words, words)
    elif words and not has_subheading:
        yield _Section(start, start, body, words, words)


def _heading(document: TextDocument, line: int, body: int) -> tuple[int, str, int, int] | None:
    """Level, words, first line and the line after, of a heading that ends on this line."""
    text = document.lines[line]
    if match := _HEADING.match(text):
        words = (match[2] or "").rstrip()
        bare = words.rstrip("#")
        words = bare if bare == "" or bare[-1] in " \t" else words
        return len(match[1]), plain_words(words), line, line + 1
    underline = _UNDERLINE.match(text)
    if underline and line > body:
        above = document.lines[line - 1]
        if above.strip() and not _NO_PARAGRAPH.match(above):
            level = 1 if underline[1][0] == "=" else 2
            return level, plain_words(above), line - 1, line + 1
    return None


def _join_tiny(document: TextDocument, left: _Section, right: _Section) -> _Section | None:
    """Both sections as one, where each is small and both stand under one heading."""
    tiny = document.limit // 5
    if document.tokens(right.body, right.end) > tiny:
        return None
    if document.tokens(left.body, left.end) > tiny and left.body != left.start:
        return None
    if document.tokens(left.start, right.end) > document.limit * 3 // 5:
        return None
    pairs = zip(left.trail, right.trail, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if not shared or len(right.trail) > shared + 1 or len(left.first) > shared + 1:
        return None  # a heading between the title and the text would be lost
    if len(left.trail) == shared:  # `left` is the shared heading with its first words
        return _Section(left.start, left.body, right.end, left.trail, left.first)
    return _Section(left.start, left.start, right.end, left.trail[:shared], left.first)
