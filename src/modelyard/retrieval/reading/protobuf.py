"""Protocol Buffers by their top-level blocks: messages, services, enumerations and extensions.

No parser of the language is published as a package, and its blocks are found by their braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from modelyard.retrieval.reading.splitting import Piece, TextDocument, paragraph_starts, shorten

_BLOCK = re.compile(r"\s*(message|service|enum|extend)\s+([\w.]+)\s*(?:\{|$)")
_MEMBER = re.compile(r"^\s*(?:rpc|message|enum|oneof)\s+(\w+)", re.MULTILINE)
_NO_BRACES = re.compile(r"//.*|/\*.*?\*/|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_COMMENT = re.compile(r"^\s*(?://|/\*+|\*+/?)[ \t]?|\*/\s*$", re.MULTILINE)
_ABOVE = re.compile(r"\s*(?://|/\*|\*)")
_LONGEST_COMMENT = 200


def proto_pieces(document: TextDocument) -> Iterator[Piece]:
    """One piece for each top-level block with the comment above it, and the lines between."""
    position = 0
    for first, end, kind, name in _blocks(document.lines):
        start = first
        while start > position and _ABOVE.match(document.lines[start - 1]):
            start -= 1
        yield from _between(document, position, start)
        says = _COMMENT.sub("", "\n".join(document.lines[start:first])).strip()
        says = shorten(says.split("\n\n", 1)[0], _LONGEST_COMMENT)
        facts = {"language": "proto", "symbol": name}
        if members := _MEMBER.findall("\n".join(document.lines[first + 1 : end])):
            facts["members"] = " ".join(members)
        yield Piece(
            start=start,
            end=end,
            title=f"{kind} {name}: {says}" if says else f"{kind} {name}",
            kind="class",
            facts=facts,
            breaks=(paragraph_starts(document, start, end), range(first + 1, end)),
        )
        position = end
    yield from _between(document, position, len(document.lines))


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
    """(first row, row after the last, keyword, name) of each block that stands in no other."""
    depth, opened = 0, None
    for row, line in enumerate(lines):
        plain = _NO_BRACES.sub("", line)
        if depth == 0 and opened is None and (found := _BLOCK.match(plain)):
            opened = (row, found[1], found[2])
        depth = max(0, depth + plain.count("{") - plain.count("}"))
        if opened is not None and depth == 0 and "}" in plain:
            first, kind, name = opened
            yield first, row + 1, kind, name
            opened = None
    if opened is not None:  # a block that is never closed
        yield opened[0], len(lines), opened[1], opened[2]


def _between(document: TextDocument, start: int, end: int) -> Iterator[Piece]:
    start, end = document.trim(start, end)
    if start < end:
        yield Piece(
            start=start,
            end=end,
            title="",
            kind="text",
            facts={"language": "proto"},
            breaks=(paragraph_starts(document, start, end),),
        )
