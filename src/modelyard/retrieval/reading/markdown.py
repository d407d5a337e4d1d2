"""Markdown by heading, with the trail of headings above it.

Headings and blocks are those of CommonMark with GitHub's tables, by markdown-it-py; front matter is
that of static sites.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING

from modelyard.retrieval.reading.splitting import (
    Piece,
    TextDocument,
    join_neighbours,
    paragraph_starts,
)

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKUP = re.compile(r"`|\*\*|__|<[^<>]{1,200}>")
_LONGEST_FRONT_MATTER = 200
_LONGEST_HEADING = 200
"""Characters; a longer one is a paragraph above a line of dashes, and stays text."""
_WHOLE = ("fence", "html_block")
"""Blocks that a blank line does not end: code, comments, `<pre>`."""


@dataclass(frozen=True, slots=True)
class _Heading:
    """A heading of the page, not one in a quote or a list."""

    start: int
    """Its first line."""
    end: int
    """The line after its last."""
    level: int
    """1 to 6."""
    words: str
    """What it says, without markup."""


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
    front = _front_matter_end(document)
    if front:
        yield Piece(start=1, end=front - 1, title="front matter", kind="key", shown_from=0)
    headings, inside = _read_blocks(document, front)
    starts = [
        line for line in paragraph_starts(document, 0, len(document.lines)) if line not in inside
    ]
    sections = _sections(document, headings, front)
    for section in join_neighbours(sections, partial(_join_tiny, document)):
        yield Piece(
            start=section.body,
            end=section.end,
            title=" > ".join(filter(None, section.trail)),
            kind="section",
            breaks=(
                starts,
                [line for line in range(section.body, section.end) if line not in inside],
            ),
            shown_from=section.start,
        )


def plain_words(heading: str) -> str:
    """A heading's words without its markup."""
    return " ".join(_MARKUP.sub("", _LINK.sub(r"\1", heading)).split())


@cache
def _parser() -> MarkdownIt:
    """Blocks only: what stands within a line decides no chunk."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])


def _read_blocks(document: TextDocument, first: int) -> tuple[list[_Heading], set[int]]:
    """The headings from a line on, and the lines inside of blocks that are not to be split."""
    # A carriage return within a line would count as an end of line.
    text = "\n".join(line.replace("\r", " ") for line in document.lines[first:])
    headings: list[_Heading] = []
    inside: set[int] = set()
    tokens = _parser().parse(text)
    for token, content in zip_longest(tokens, tokens[1:]):
        if token.map is None:
            continue
        start, end = token.map[0] + first, token.map[1] + first
        if token.type in _WHOLE:
            inside.update(range(start + 1, end))
        elif token.type == "heading_open" and token.level == 0 and content is not None:
            words = plain_words(content.content)
            if len(words) <= _LONGEST_HEADING:
                headings.append(_Heading(start, end, int(token.tag[1:]), words))
    return headings, inside


def _front_matter_end(document: TextDocument) -> int:
    if document.lines[0].rstrip() != "---":
        return 0
    for line in range(1, min(len(document.lines), _LONGEST_FRONT_MATTER)):
        if document.lines[line].rstrip() in ("---", "..."):
            return line + 1
    return 0


def _sections(document: TextDocument, headings: list[_Heading], first: int) -> Iterator[_Section]:
    trail: list[tuple[int, str]] = []
    start = body = first
    for heading in headings:
        deeper = bool(trail) and trail[-1][0] < heading.level
        yield from _section(document, start, body, heading.start, trail, has_subheading=deeper)
        above = (one for one in trail if one[0] < heading.level)
        trail = [*above, (heading.level, heading.words)]
        start, body = heading.start, heading.end
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
