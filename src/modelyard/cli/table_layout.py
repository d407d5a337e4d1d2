"""How wide the columns of a table are, and where their cells are folded.

Cells are folded between words; a number and its unit stay together, and no word is broken unless it
is longer than any column could be. The first column, which says what a row is about, keeps each
cell on a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_GAPS = (3, 2)
"""Columns of a terminal between two columns of a table: as it should be, and where it is tight."""
_MOST_LINES = 6
"""Lines that a row may have."""
_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d|B|kB|MB|GB|TB|k|M)\b)")
"""The space between a number and its unit."""
_JOINED = "\0"


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table as it fits a terminal."""

    gap: int
    """Columns between two columns."""
    columns: tuple[str, ...]
    """The header of each column, folded."""
    rows: tuple[tuple[str, ...], ...]
    """The cells, folded."""


def lay_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, folding: bool = True
) -> TableLayout | None:
    """Fold cells until the table is at most so wide; None where it cannot be.

    folding: else None where anything would have to be folded.
    """
    cells = list(zip(columns, *rows, strict=True))
    for gap in _GAPS:
        room = width - gap * len(columns) + (gap - 2)  # with a space at either end
        if (widths := _share(cells, room, folding=folding)) is not None:
            break
    else:
        return None
    folded = [
        ["\n".join(fold(cell, size)) for cell in column]
        for column, size in zip(cells, widths, strict=True)
    ]
    header, *body = zip(*folded, strict=True)
    if any(cell.count("\n") >= _MOST_LINES for row in body for cell in row):
        return None
    return TableLayout(gap=gap, columns=header, rows=tuple(body))


def _share(cells: Sequence[Sequence[str]], room: int, *, folding: bool) -> list[int] | None:
    """The width of each column, together at most `room`; the widest ones give way first."""
    widths = [max(map(_longest_line, column)) for column in cells]
    if not folding:
        return widths if sum(widths) <= room else None
    least = [
        max(
            _longest_word(cell) if place or not number else _longest_line(cell)
            for number, cell in enumerate(column)
        )
        for place, column in enumerate(cells)
    ]
    if sum(least) > room:
        return None
    while sum(widths) > room:
        place = max(
            (place for place in range(len(widths)) if widths[place] > least[place]),
            key=lambda place: widths[place],
        )
        widths[place] -= 1
    return widths


def fold(text: str, width: int) -> list[str]:
    """The lines of a text, each at most so wide; a word that is longer is broken."""
    lines = []
    for given in text.split("\n"):
        line = ""
        for word in _words(given):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = ""
            line = f"{line} {word}" if line else word
            while len(line) > width:
                lines.append(line[:width])
                line = line[width:]
        lines.append(line)
    return lines


def _words(line: str) -> list[str]:
    joined = _UNIT.sub(_JOINED, line)
    return [word.replace(_JOINED, " ") for word in joined.split(" ")]


def _longest_word(text: str) -> int:
    return max(len(word) for line in text.split("\n") for word in _words(line))


def _longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))
