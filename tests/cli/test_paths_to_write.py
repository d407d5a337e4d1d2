"""Paths given for writing: nothing but a regular file is replaced, and no path is a traceback."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from test_validate_config_command import Models

from deploy_samples import write_deploy_project

LONG = "a" * 300
IMPOSSIBLE = ["", "file/below", "/proc/none", LONG, f"{LONG}/x", "loop", "loop/x", "fifo"]
"""Where neither a file nor a folder can be made."""
ROW = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'


@pytest.fixture
def odd_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as the working folder, with places in it where nothing can be written."""
    root = write_deploy_project(tmp_path / "project").root
    monkeypatch.chdir(root)
    Path("file").write_text("somebody's\n")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    Path("folder").mkdir()
    Path("rows.jsonl").write_text(ROW)
    os.mkfifo("fifo")
    return root


def everything(root: Path) -> dict[str, int]:
    """What stands where, outside the local state."""
    return {
        str(path): path.lstat().st_ino
        for path in sorted(root.rglob("*"))
        if ".models" not in path.parts
    }


@pytest.mark.parametrize("path", [*IMPOSSIBLE, ".", "..", "folder", "dangling"])
@pytest.mark.parametrize("command", ["deploy-config --all --env test", "switch-config"])
def test_a_plan_is_written_only_where_a_regular_file_can_be(
    odd_places: Path,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    path: str,
    command: str,
) -> None:
    before = everything(odd_places)
    words = command.split()
    if command == "switch-config":
        words += ["--profile", "high_accuracy"]
    assert models_here(*words, "--plan", "--plan-file", path) == 2
    said = capsys.readouterr().err
    assert (path[:30] if path else "'--plan-file': the path is empty") in said
    assert everything(odd_places) == before
    assert stat.S_ISFIFO(Path("fifo").stat().st_mode)


def test_a_plan_replaces_a_file_and_the_file_that_a_link_leads_to(
    odd_places: Path, models_here: Models
) -> None:
    Path("latest").symlink_to("file")
    words = ("deploy-config", "--all", "--env", "test", "--plan", "--plan-file")
    assert models_here(*words, "latest") == 4
    assert Path("latest").is_symlink()
    assert Path("file").read_text().startswith("{")


def test_a_dry_run_writes_no_plan(
    odd_places: Path, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(odd_places)
    words = ("deploy-config", "--all", "--env", "test", "--plan", "--dry-run", "--plan-file")
    assert models_here(*words, "new.json") == 4
    assert "the plan would be in new.json" in capsys.readouterr().err
    assert everything(odd_places) == before


@pytest.mark.parametrize("path", [*(place for place in IMPOSSIBLE if place), "dangling"])
def test_a_dataset_is_prepared_only_where_a_folder_can_be(
    odd_places: Path, models_here: Models, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    out = path if path.startswith("/") else f"{odd_places}/{path}"
    before = everything(odd_places)
    assert models_here("prepare-data", "rows.jsonl", "--out", out) == 2
    assert "error: " in capsys.readouterr().err
    assert everything(odd_places) == before


def test_prepared_rows_do_not_replace_a_pipe(odd_places: Path, models_here: Models) -> None:
    os.mkfifo("folder/train.jsonl")
    assert models_here("prepare-data", "rows.jsonl", "--out", "./folder", "--force") == 2
    assert stat.S_ISFIFO(Path("folder/train.jsonl").stat().st_mode)


@pytest.mark.parametrize("path", [*IMPOSSIBLE, "dangling"])
def test_schemas_and_projects_are_written_only_into_folders(
    odd_places: Path, models_here: Models, tmp_path: Path, path: str
) -> None:
    before = everything(odd_places)
    assert models_here("config", "schema", "--all", "--to", path) == 2
    assert models_here("init", path) == 2
    assert everything(odd_places) == before


def test_a_schema_does_not_replace_a_pipe(odd_places: Path, models_here: Models) -> None:
    os.mkfifo("folder/language_models.json")
    assert models_here("config", "schema", "--all", "--to", "folder") == 2
    assert stat.S_ISFIFO(Path("folder/language_models.json").stat().st_mode)


@pytest.mark.parametrize("option", ["--project", "--yard"])
def test_a_project_that_is_named_beats_every_variable(
    odd_places: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("MODELS_PROJECT", "MODELS_YARD"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
        assert models_here(option, str(odd_places), "adapters", "list") == 0


def test_a_project_without_a_name_is_refused(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("--project", "", "adapters", "list") == 2
    assert "the path is empty" in capsys.readouterr().err
