"""Where a table is folded: between words, never in a name, and nothing of it is lost."""

from __future__ import annotations

import pytest

from modelyard.cli import render
from modelyard.cli.table_layout import fold, lay_out

COLUMNS = ("job", "when", "took", "command")
ROWS = [
    ("embeddings", "every day at four in the morning", "1.48 s", "models update-embeddings --all"),
    ("a-name-of-many-letters", "once", "20 min", "models base check"),
]


def widest(lines: list[str]) -> int:
    return max(map(len, lines))


@pytest.mark.parametrize("width", range(66, 130))
def test_a_table_that_fits_when_folded_has_every_word_and_no_broken_one(width: int) -> None:
    layout = lay_out(COLUMNS, ROWS, width)
    assert layout is not None
    sizes = [0] * len(COLUMNS)
    for folded, given in zip((layout.columns, *layout.rows), (COLUMNS, *ROWS), strict=True):
        for place, (cell, whole) in enumerate(zip(folded, given, strict=True)):
            assert cell.replace("\n", " ") == whole
            sizes[place] = max(sizes[place], widest(cell.split("\n")))
    assert sum(sizes) + layout.gap * (len(COLUMNS) - 1) + 2 <= width
    names = [row[0] for row in layout.rows]
    assert names == [row[0] for row in ROWS], "a name is never folded"
    times = [row[2] for row in layout.rows]
    assert times == ["1.48 s", "20 min"], "a number keeps its unit"


def test_it_is_folded_only_where_it_must_be() -> None:
    whole = lay_out(COLUMNS, ROWS, 110)
    assert whole is not None
    assert (whole.columns, whole.rows, whole.gap) == (COLUMNS, tuple(ROWS), 3)
    alone = lay_out(COLUMNS, ROWS, 98)
    assert alone is not None
    assert alone.gap == 3
    assert alone.rows[0][1] == "every day at four in the\nmorning"
    assert alone.rows[0][3] == ROWS[0][3], "only the widest column is folded"
    numbers = [("name", *("1234567",) * 6)]
    tight = lay_out(("", *"abcdef"), numbers, 62)
    assert tight is not None
    assert (tight.rows, tight.gap) == (tuple(numbers), 2)
    assert lay_out(COLUMNS, ROWS, 50) is None, "words would have to be broken"
    high = [("name", "a b c d e f g h i j k l")]
    assert lay_out(("", ""), high, 10) is None, "the row would be too high"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("took 1.48 s of 2", 9, ["took", "1.48 s of", "2"]),
        ("made 2026-11-30 18:34", 16, ["made", "2026-11-30 18:34"]),
        ("41 of 50 are good", 5, ["41 of", "50", "are", "good"]),
        ("abcdefgh ij", 3, ["abc", "def", "gh", "ij"]),
        ("first\nsecond one", 6, ["first", "second", "one"]),
        ("", 4, [""]),
        ("two  spaces", 20, ["two  spaces"]),
    ],
)
def test_lines_are_folded_between_words(text: str, width: int, lines: list[str]) -> None:
    assert fold(text, width) == lines


def test_a_row_that_fits_no_table_is_a_title_with_its_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    render.out.cache_clear()
    render.print_table((*COLUMNS, "empty"), [(*row, "") for row in ROWS])
    assert capsys.readouterr().out.splitlines() == [
        "embeddings",
        "  when: every day at four in the morning",
        "  took: 1.48 s",
        "  command: models update-embeddings --all",
        "a-name-of-many-letters",
        "  when: once · took: 20 min",
        "  command: models base check",
    ]
    render.out.cache_clear()
