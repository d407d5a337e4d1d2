"""reStructuredText by section, with the trail of titles above it.

A title has a line of one punctuation character below it, at least as long as the title, and may
have the same above. Which character is which level is decided by the order in which they first
occur (docutils, reStructuredText Markup Specification, "Sections"). An indented line is a title
only between two such lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.retrieval.reading.markdown import Heading, section_pieces
from modelyard.retrieval.reading.splitting import Piece, TextDocument

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}")
_ROLE = re.compile(r":[\w:+.-]{1,40}:`|[`*|]")
_DEEPEST = 6


def rst_pieces(document: TextDocument) -> Iterator[Piece]:
    """One piece for each title; tiny neighbours are joined under the title they share."""
    return section_pieces(document, list(_titles(document)))


def _titles(document: TextDocument) -> Iterator[Heading]:
    styles: list[tuple[str, bool]] = []
    after = 0
    for row in range(1, len(document.lines)):
        below = _ADORNMENT.fullmatch(document.lines[row].rstrip())
        title = document.lines[row - 1].rstrip()
        if below is None or row - 1 < after or not title or _ADORNMENT.fullmatch(title):
            continue
        over = row - 2 >= after and document.lines[row - 2].rstrip() == below[0]
        if len(below[0]) < len(title.strip()) or (title[0].isspace() and not over):
            continue
        if not over and row - 2 >= after and not document.is_blank(row - 2):
            continue  # the last line of a paragraph
        style = (below[1], over)
        if style not in styles:
            styles.append(style)
        level = min(styles.index(style) + 1, _DEEPEST)
        words = " ".join(_ROLE.sub("", title).split())
        yield Heading(row - 2 if over else row - 1, row + 1, level, words)
        after = row + 1
