"""A table never cuts what it holds, however narrow the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.adapters.manifest import build_manifest
from modelyard.adapters.training_info import TrainingInfo, render_training_info
from modelyard.cli import render
from modelyard.cli.render import print_evaluation
from modelyard.records.evaluation import Evaluation, ModelFigures, PairedDifference
from modelyard.records.provenance import Origin, Provenance

PATH = "/home/someone/.cache/modelyard/bases/with/a/long/path/to/the/end"
COLUMNS = ("name", ">weights", "local", "from", "where")
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


def test_an_evaluation_is_printed_as_its_card_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = Evaluation(
        rows=1200,
        fingerprint="sha256:eval",
        base=ModelFigures(loss=7.25, perplexity=1408.1048, facts_recalled=0.0),
        tuned=ModelFigures(loss=1.2, perplexity=3.3201, facts_recalled=0.7),
        difference=PairedDifference(-6.05, -6.5, -5.6),
    )
    print_evaluation(evaluation)
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    origin = Origin(name="tiny", fingerprint="sha256:b")
    made = Provenance(
        run_key="first/1",
        base=origin,
        data=origin,
        template_hash="sha256:t",
        spec={},
        packages={},
        machine={},
    )
    info = TrainingInfo(rows=5, evaluation=evaluation)
    _, card = render_training_info(
        build_manifest("demo", 1, {}, made), info, spec={}, base_path=Path("/bases/tiny")
    )
    for row in evaluation.main_rows():
        cells = (row.name, row.base, row.adapter)
        assert f"| {' | '.join(cells)} |" in card
        assert [*" ".join((*cells, row.interval)).split()] in lines
    assert evaluation.summary in card
    assert evaluation.summary in " ".join(printed.split())
