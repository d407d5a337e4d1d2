"""Markdown by heading, with the trail of headings above it.

Headings are those of CommonMark (0.31, 4.2 and 4.3), front matter that of static sites.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.retrieval.reading.splitting import Document, Piece

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_PARAGRAPH = re.compile(r" {0,3}(?:[>|#]|[-+*][ \t]|\d{1,9}[.)][ \t])| {4}|\t")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKUP = re.compile(r"`|\*\*|__|<[^<>]{1,200}>")
_LONGEST_FRONT_MATTER = 200


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading and what stands under it, up to the next heading; or several, put together."""

    start: int
    """The line of the heading."""
    body: int
    """The line where the text begins; the heading's own, where the title does not say it."""
    end: int
    """The line after the last."""
    trail: tuple[str, ...]
    """The headings that all of it stands under: its title."""
    first: tuple[str, ...]
    """The trail of the heading at its start."""


def markdown_pieces(document: Document) -> Iterator[Piece]:
    """One piece for each heading; tiny neighbours go together under the heading of them all.

    A heading with nothing under it but further headings is told by their trails.
    """
    fenced = _fenced_lines(document)
    front = _front_matter_end(document)
    if front:
        yield Piece(start=1, end=front - 1, title="front matter", kind="key", shown_from=0)
    starts = _paragraphs(document, fenced)
    for section in _merge_tiny(document, _sections(document, fenced, front)):
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


def _fenced_lines(document: Document) -> list[bool]:
    """Whether each line lies in fenced code, after its opening line."""
    fenced, fence = [], ""
    for line in document.lines:
        fenced.append(bool(fence))
        match = _FENCE.match(line)
        if not fence and match:
            fence = match[1]
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
    return fenced


def _front_matter_end(document: Document) -> int:
    if document.lines[0].rstrip() != "---":
        return 0
    for line in range(1, min(len(document.lines), _LONGEST_FRONT_MATTER)):
        if document.lines[line].rstrip() in ("---", "..."):
            return line + 1
    return 0


def _paragraphs(document: Document, fenced: list[bool]) -> list[int]:
    return [
        line
        for line in range(1, len(document.lines))
        if not fenced[line] and document.is_blank(line - 1) and not document.is_blank(line)
    ]


def _sections(document: Document, fenced: list[bool], first: int) -> Iterator[_Section]:
    trail: list[tuple[int, str]] = []
    start = body = first
    for line in range(first, len(document.lines)):
        heading = None if fenced[line] else _heading(document, line, body)
        if heading is None:
            continue
        level, words, head, after = heading
        deeper = bool(trail) and trail[-1][0] < level
        yield from _section(document, start, body, head, trail, told_below=deeper)
        trail = [*(one for one in trail if one[0] < level), (level, words)]
        start, body = head, after
    yield from _section(document, start, body, len(document.lines), trail, told_below=False)


def _section(
    document: Document,
    start: int,
    body: int,
    end: int,
    trail: list[tuple[int, str]],
    *,
    told_below: bool,
) -> Iterator[_Section]:
    """A heading with its text; one without is its own text, or nothing if those below tell it."""
    begin, stop = document.trim(body, end)
    words = tuple(one for _, one in trail)
    if begin < stop:
        yield _Section(start, body, stop, words, words)
    elif words and not told_below:
        yield _Section(start, start, body, words, words)


def _heading(document: Document, line: int, body: int) -> tuple[int, str, int, int] | None:
    """Level, words, first line and the line after, of a heading that is known by this line."""
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


def _merge_tiny(document: Document, sections: Iterator[_Section]) -> Iterator[_Section]:
    """Neighbours that are each small and stand under one heading become one section."""
    held: _Section | None = None
    for section in sections:
        if held is not None and (together := _together(document, held, section)):
            held = together
            continue
        if held is not None:
            yield held
        held = section
    if held is not None:
        yield held


def _together(document: Document, one: _Section, other: _Section) -> _Section | None:
    tiny = document.limit // 5
    if document.tokens(other.body, other.end) > tiny:
        return None
    if document.tokens(one.body, one.end) > tiny and one.body != one.start:
        return None
    if document.tokens(one.start, other.end) > document.limit * 3 // 5:
        return None
    shared = 0
    for left, right in zip(one.trail, other.trail, strict=False):
        if left != right:
            break
        shared += 1
    if not shared or len(other.trail) > shared + 1 or len(one.first) > shared + 1:
        return None  # a heading between the title and the text would be lost
    if len(one.trail) == shared:  # the heading above, with its first words
        return _Section(one.start, one.body, other.end, one.trail, one.first)
    return _Section(one.start, one.start, other.end, one.trail[:shared], one.first)
