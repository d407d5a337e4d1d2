"""How wide the columns of a table are, and where their cells are folded.

Cells are folded between words, and no word is broken; a number and its unit, a day and its time
stay together. The first column, which says what a row is about, keeps each cell on a line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_WIDE_GAP, _TIGHT_GAP = 3, 2
"""Columns of a terminal between two columns of a table: as it should be, and where it is tight."""
_MOST_LINES = 6
"""Lines that a row may have."""
_TOGETHER = re.compile(
    r"(?<=\d) (?=(?:ms|s|min|h|d|B|kB|MB|GB|TB|k|M)\b)|(?<=\d{4}-\d\d-\d\d) (?=\d\d:\d\d)"
)
"""The space between a number and its unit, and a day and its time."""
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
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> TableLayout | None:
    """Fold cells until the table is at most so wide; None where it cannot be.

    Where the widest column but the first can give way alone, it does.
    """
    cells = list(zip(columns, *rows, strict=True))
    whole = [max(map(_longest_line, column)) for column in cells]
    widest = max(range(1, len(whole)), key=lambda place: (whole[place], place), default=0)
    for gap, foldable in (
        (_WIDE_GAP, ()),
        (_WIDE_GAP, (widest,)),
        (_TIGHT_GAP, ()),
        (_WIDE_GAP, range(len(whole))),
        (_TIGHT_GAP, range(len(whole))),
    ):
        room = width - gap * len(columns) + (gap - 2)  # with a space at either end
        widths = _share(cells, whole, room, foldable)
        if widths is None:
            continue
        folded = [
            ["\n".join(fold(cell, size)) for cell in column]
            for column, size in zip(cells, widths, strict=True)
        ]
        header, *body = zip(*folded, strict=True)
        if not foldable or all(cell.count("\n") < _MOST_LINES for row in body for cell in row):
            return TableLayout(gap=gap, columns=header, rows=tuple(body))
    return None


def _share(
    cells: Sequence[Sequence[str]], whole: Sequence[int], room: int, foldable: Collection[int]
) -> list[int] | None:
    """The width of each column, together at most `room`; None where that is too little.

    Column by column is made narrower, each time the one that makes the table higher by the fewest
    lines for what it saves.
    """
    widths = list(whole)
    if not foldable:
        return widths if sum(widths) <= room else None
    heights = [_heights(column, width) for column, width in zip(cells, widths, strict=True)]
    while (too_much := sum(widths) - room) > 0:
        before = sum(map(max, zip(*heights, strict=True)))
        best: tuple[float, int, int, list[int]] | None = None
        for place in foldable:
            column = cells[place]
            narrower = _next_width(column, widths[place], keeps_lines=place == 0)
            if narrower is None:
                continue
            higher = _heights(column, narrower)
            after = [*heights[:place], higher, *heights[place + 1 :]]
            added = sum(map(max, zip(*after, strict=True))) - before
            price = added / min(widths[place] - narrower, too_much)
            if best is None or (price, -narrower) < best[:2]:
                best = price, -narrower, place, higher
        if best is None:
            return None
        _, narrow, place, higher = best
        widths[place], heights[place] = -narrow, higher
    return widths


def _next_width(column: Sequence[str], width: int, *, keeps_lines: bool) -> int | None:
    """The width that a column has when it is folded a little more; None where it cannot be.

    keeps_lines: whether only its header may be folded.
    """
    least = max(
        _longest_line(cell) if keeps_lines and number else _longest_word(cell)
        for number, cell in enumerate(column)
    )
    if width <= least:
        return None
    return max(len(line) for cell in column for line in fold(cell, width - 1))


def _heights(column: Sequence[str], width: int) -> list[int]:
    """How many lines each cell has."""
    return [len(fold(cell, width)) if len(cell) > width or "\n" in cell else 1 for cell in column]


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


def fold_words(text: str, first: int, width: int) -> list[str]:
    """The lines of a text, the first at most so wide as there is room; no word is broken."""
    lines = [""]
    for word in _words(text.replace("\n", " ")):
        most = first if len(lines) == 1 else width
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _words(line: str) -> list[str]:
    joined = _TOGETHER.sub(_JOINED, line)
    return [word.replace(_JOINED, " ") for word in joined.split(" ")]


def _longest_word(text: str) -> int:
    return max(len(word) for line in text.split("\n") for word in _words(line))


def _longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))
