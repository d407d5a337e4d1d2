"""Feedback that contradicts itself is named, and can be listed as CSV and withdrawn."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.chatdata.feedback import list_feedback as recorded
from modelyard.core.layout import Project

Models = Callable[..., int]
WORD = "feedback 1, 2 teach different answers to one question, 'Who leads sales?'"


@pytest.fixture
def two(models: Models, capsys: pytest.CaptureFixture[str]) -> str:
    """Two corrections of one question, and rows that contradict nothing; what the second said."""
    add = ("feedback", "add", "--org", "acme", "--answer", "Ann.", "--prompt")
    assert models(*add, "Who leads sales?", "--correction", "Bob.") == 0
    assert capsys.readouterr().err == ""
    assert models(*add, "who leads  SALES?", "--correction", 'Carla,\n"CSO".') == 0
    said = " ".join(capsys.readouterr().err.split())
    assert models(*add, "Who leads sales?", "--correction", "bob. ") == 0
    assert models(*add, "Who leads sales?", "--rating", "bad") == 0
    capsys.readouterr()
    other = ("feedback", "add", "--org", "other", "--answer", "Ann.", "--prompt")
    assert models(*other, "Who leads sales?", "--correction", "Zoe.") == 0
    assert capsys.readouterr().err == ""
    return said


def test_contradicting_corrections_are_named_where_they_are_added_listed_and_prepared(
    two: str, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert WORD in two
    assert models("feedback", "list") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "feedback 1, 2, 3 teach different answers" in said
    assert models("feedback", "list", "--json") == 0
    rows = {row["id"]: row["contradicts"] for row in json.loads(capsys.readouterr().out)}
    assert rows == {1: [2], 2: [1, 3], 3: [2], 4: [], 5: []}
    prepare = ("prepare-data", "--from-feedback", "--org", "acme", "--out", "sales")
    assert models(*prepare) == 0
    assert "feedback 1, 2, 3 teach" in " ".join(capsys.readouterr().err.split())


def test_a_csv_listing_keeps_every_text(
    two: str, models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("feedback", "list", "--format", "csv", "--org", "acme") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["correction"] for row in rows] == ["Bob.", 'Carla,\n"CSO".', "bob.", ""]
    assert rows[1]["contradicts"] == "1 3"
    assert models("feedback", "list", "--format", "csv", "--json") == 2


def test_withdrawn_rows_are_gone_from_the_file_and_from_the_next_dataset(
    two: str, models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("feedback", "withdraw", "2", "99") == 2
    assert "there is no feedback 99; nothing was withdrawn" in capsys.readouterr().err
    assert models("feedback", "withdraw", "2", "--dry-run") == 0
    assert len(recorded(project)) == 5
    assert models("feedback", "withdraw", "2", "5") == 0
    assert "withdrew 2 rows: 2, 5" in capsys.readouterr().out
    assert [row.id for row in recorded(project)] == [1, 3, 4]
    assert b"Carla" not in project.state_db.read_bytes()
    prepare = ("prepare-data", "--from-feedback", "--org", "acme", "--out", "datasets/sales")
    assert models(*prepare) == 0
    assert "teach different answers" not in capsys.readouterr().err
    assert models("feedback", "withdraw", "1", "--dry-run") == 0
    told = capsys.readouterr().err.replace("\n", " ")
    assert "`models prepare-data --from-feedback --org acme --out sales --force`" in told
    assert models("feedback", "withdraw", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["datasets"] == ["sales"]
    assert models(*prepare, "--force") == 0
    folder = Path("datasets/sales")
    assert "Bob." not in "".join(path.read_text() for path in folder.glob("*.jsonl"))
