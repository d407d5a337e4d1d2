"""Markdown by heading, with the trail of headings above it.

Headings and blocks are those of CommonMark with GitHub's tables, by markdown-it-py. What comments
of HTML and MDX hold is no heading, also where CommonMark ends them at a blank line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING

from modelyard.retrieval.reading.front_matter import (
    NO_FRONT_MATTER,
    FrontMatter,
    read_front_matter,
)
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
_LONGEST_HEADING = 200
"""Characters; a longer one is a paragraph above a line of dashes, and stays text."""
_COMMENTS = (("<!--", "-->"), ("{/*", "*/}"))
_ATTRIBUTES = re.compile(r"[ \t]*\{[#.:][^{}]{0,200}\}[ \t]*$|<!--.*?-->|\{/\*.*?\*/\}")
"""An anchor or class after a heading (`{#name}`), and comments in its line."""
_WHOLE = ("fence", "html_block")
"""Blocks that a blank line does not end: code, comments, `<pre>`."""


@dataclass(frozen=True, slots=True)
class Heading:
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

    A heading with only further headings under it is part of their titles. The title in the front
    matter of a page stands above all of them, and its description belongs to the title of the
    first; only a page that has nothing else has its front matter as a chunk.
    """
    front = read_front_matter(document)
    headings, inside = _read_blocks(document, front.end)
    return section_pieces(document, headings, inside=inside, front=front)


def section_pieces(
    document: TextDocument,
    headings: Sequence[Heading],
    *,
    inside: Collection[int] = (),
    front: FrontMatter = NO_FRONT_MATTER,
) -> Iterator[Piece]:
    """One piece for each heading, from headings in the order of their lines.

    inside: lines before which nothing is split, such as those within a fence.
    """
    starts = [
        line for line in paragraph_starts(document, 0, len(document.lines)) if line not in inside
    ]
    sections = list(
        join_neighbours(_sections(document, headings, front.end), partial(_join_tiny, document))
    )
    if front.end and not sections:
        begin, end = document.trim(0, front.end)
        yield Piece(start=begin + 1, end=end - 1, title=front.title, kind="key", shown_from=begin)
    for number, section in enumerate(sections):
        trail = [words for words in section.trail if words]
        if front.title and front.title not in trail:
            trail.insert(0, front.title)
        title = " > ".join(trail)
        if front.description and not number:
            title = f"{title}: {front.description}" if title else front.description
        yield Piece(
            start=section.body,
            end=section.end,
            title=title,
            kind="section",
            breaks=(
                starts,
                [line for line in range(section.body, section.end) if line not in inside],
            ),
            shown_from=section.start,
        )


def plain_words(heading: str) -> str:
    """A heading's words without its markup."""
    heading = _ATTRIBUTES.sub("", heading)
    return " ".join(_MARKUP.sub("", _LINK.sub(r"\1", heading)).split())


@cache
def _parser() -> MarkdownIt:
    """Blocks only: what stands within a line decides no chunk."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])


def _read_blocks(document: TextDocument, first: int) -> tuple[list[Heading], set[int]]:
    """The headings from a line on, and the lines inside of blocks that are not to be split."""
    # A carriage return within a line would count as an end of line.
    text = "\n".join(line.replace("\r", " ") for line in document.lines[first:])
    headings: list[Heading] = []
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
                headings.append(Heading(start, end, int(token.tag[1:]), words))
    hidden = _comment_lines(document, first, inside)
    return [heading for heading in headings if heading.start not in hidden], inside | hidden


def _comment_lines(document: TextDocument, first: int, inside: set[int]) -> set[int]:
    """Lines within a comment of HTML or MDX that began on an earlier line, outside of code."""
    lines: set[int] = set()
    closing = ""
    for row in range(first, len(document.lines)):
        line = document.lines[row]
        if closing:
            lines.add(row)
            place = line.find(closing)
            if place < 0:
                continue
            line = line[place + len(closing) :]
            closing = ""
        elif row in inside:
            continue  # code, or a block of HTML that the parser knows
        for opening, end in _COMMENTS:
            place = line.rfind(opening)
            if place >= 0 and end not in line[place + len(opening) :]:
                closing = end
    return lines if not closing else set()


def _sections(
    document: TextDocument, headings: Sequence[Heading], first: int
) -> Iterator[_Section]:
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
