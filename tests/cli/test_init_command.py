"""`models init` as a person and as a program see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Models = Callable[..., int]


def test_it_lists_what_it_wrote_and_ends_with_what_to_type(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("init", "my project") == 0
    printed = capsys.readouterr().out
    assert "  datasets/example/train.jsonl\n" in printed
    assert "  cd 'my project'\n" in printed
    assert printed.rstrip().splitlines()[-1].startswith("  models generate --adapter example")


def test_again_it_says_that_there_is_nothing_to_write(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    models_here("init", ".")
    capsys.readouterr()
    assert models_here("init", ".") == 0
    assert "nothing to write" in capsys.readouterr().out


def test_json_has_the_documented_shape(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("init", "y", "--json", "--dry-run") == 0
    value = json.loads(capsys.readouterr().out)
    assert set(value) == {"project", "dry_run", "written", "kept", "sharing"}
    assert value["dry_run"] is True and value["kept"] == []
    assert not Path("y").exists()


def test_a_file_is_refused_with_exit_code_2(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("mine")
    assert models_here("init", "notes.txt") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert Path("notes.txt").read_text() == "mine"


def test_an_empty_name_is_wrong_usage_and_writes_nothing(
    models_here: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.iterdir())
    assert models_here("init", "") == 2
    assert "the folder's name is empty" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("below", ["", "/project"])
def test_a_link_that_leads_to_itself_is_wrong_usage(
    models_here: Models, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    Path("loop").symlink_to("loop")
    assert models_here("init", f"loop{below}") == 2
    assert "a bug" not in capsys.readouterr().err


def test_a_place_where_no_folder_can_be_made_is_an_error_that_names_it(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("init", "/proc/modelyard") == 2
    assert "/proc/modelyard: no folder can be made there" in capsys.readouterr().err
