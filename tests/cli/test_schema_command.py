"""`models config schema`: the published schemas, listed, printed and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_validate_config_command import Models

from modelyard.configs.kinds import KINDS
from modelyard.configs.schema import load_schema


def test_without_a_kind_it_lists_them(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("config", "schema") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(kind.name in printed and kind.title in printed for kind in KINDS.values())


def test_a_kind_prints_its_schema(models_here: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert models_here("config", "schema", "integration") == 0
    assert json.loads(capsys.readouterr().out) == load_schema("integration")


def test_all_of_them_become_files(models_here: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert models_here("config", "schema", "--all", "--to", "some/schemas") == 0
    written = {path.stem: json.loads(path.read_text()) for path in Path("some/schemas").iterdir()}
    assert written == {name: load_schema(name) for name in KINDS}


@pytest.mark.parametrize(
    "words",
    [["--all"], ["--to", "x"], ["integration", "--all", "--to", "x"], ["integration", "--to", "x"]],
)
def test_half_of_what_is_needed_is_wrong_usage_and_writes_nothing(
    models_here: Models, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert models_here("config", "schema", *words) == 2
    assert "go together" in capsys.readouterr().err
    assert not Path("x").exists()


def test_an_unknown_kind_suggests_the_right_one(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("config", "schema", "language_model") == 2
    assert "(did you mean 'language_models'?)" in capsys.readouterr().err
