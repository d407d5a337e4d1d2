"""Makefiles by target, with the remarks above it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.retrieval.reading.lines import Document, Piece, paragraph_starts

_TARGET = re.compile(r"(?![ \t#.])([^\s:=#][^:=#]{0,300}?)[ \t]*::?(?![:=])")


def is_makefile(name: str) -> bool:
    """Whether a file's name is that of a makefile."""
    lowered = name.lower()
    return lowered in ("makefile", "gnumakefile") or lowered.endswith((".mk", ".mak"))


def makefile_pieces(document: Document) -> Iterator[Piece]:
    """One piece for each target with its recipe; what stands above the first is text."""
    starts: list[tuple[int, str]] = [(0, "")]
    continued = False
    for row, line in enumerate(document.lines):
        match = None if continued else _TARGET.match(line)
        continued = line.endswith("\\")
        if match:
            first = row
            while first > starts[-1][0] and document.lines[first - 1].startswith(("#", ".PHONY")):
                first -= 1
            starts.append((first, " ".join(match[1].split())))
    ends = [*(row for row, _ in starts[1:]), len(document.lines)]
    for (start, target), end in zip(starts, ends, strict=True):
        if start < end:
            yield Piece(
                start=start,
                end=end,
                title=f"make {target}" if target else "",
                kind="script" if target else "text",
                facts={"language": "make", **({"symbol": target} if target else {})},
                breaks=(paragraph_starts(document, start, end),),
            )
