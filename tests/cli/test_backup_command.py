"""`models backup`, as people and programs see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from small_disk import mounted_disk, remount

Models = Callable[..., int]


@pytest.fixture
def mine(models_here: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A new project, which is the current folder."""
    assert models_here("init", "mine") == 0
    monkeypatch.chdir(tmp_path / "mine")
    return Project(tmp_path / "mine")


def test_the_line_of_every_backup_script_works(
    models_here: Models, mine: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert models_here("backup", "--models", "all", "--include-embeddings") == 0
    said = capsys.readouterr()
    assert "make a repository at file://" in said.err
    assert "left" not in said.err.splitlines()[-2]  # nothing is left when it is done
    assert "THE BACKUP IS ON THE SAME DISK AS THE PROJECT" in said.err
    assert "Made the snapshot 20" in said.out and "places are left out on purpose" in said.out
    assert (mine.backups / "format.json").exists()
    assert models_here("backup", "--models", "all", "--include-embeddings") == 0
    assert "make a repository" not in capsys.readouterr().err


def test_a_dry_run_makes_nothing(
    models_here: Models, mine: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert models_here("backup", "--dry-run") == 0
    said = capsys.readouterr()
    assert "would be read" in said.out and "--include-datasets adds it" in said.out
    assert "SAME DISK" in said.err
    assert not mine.backups.exists()


def test_what_could_not_be_stored_is_named_and_the_exit_is_1(
    models_here: Models, mine: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine.configs / "outside.yaml").symlink_to("/etc/hostname")
    capsys.readouterr()
    assert models_here("backup", "--json") == 1
    said = capsys.readouterr()
    (skipped,) = json.loads(said.out)["skipped"]
    assert skipped["path"] == "configs/outside.yaml"
    assert "configs/outside.yaml: is a link that leaves the project" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--models", "nobody"), "there is no adapter 'nobody'"),
        (("--models", ""), "is not a valid adapter name"),
        (("--tag", "a\nb"), "--tag: a tag is one line"),
        (("--repo", "nowhere"), "is no object store"),
        (("--repo", "ftp://x/y"), "is no object store"),
        (("lisst",), "No such command 'lisst' (did you mean 'list'?)"),
        (("everything",), "No such command 'everything'; there are "),
    ],
)
def test_what_is_wrong_is_said_plainly(
    models_here: Models,
    mine: Project,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    capsys.readouterr()
    assert models_here("backup", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not mine.backups.exists()


def test_a_project_on_a_read_only_disk(
    models_here: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        assert models_here("init", "disk/mine") == 0
        words = ("--project", "disk/mine", "backup", "--repo", (tmp_path / "store").as_uri())
        remount(disk, "ro")
        capsys.readouterr()
        assert models_here(*words) == 0
        assert "SAME DISK" not in capsys.readouterr().err
        # Where the repository would be on that disk too.
        assert models_here(*words[:3]) == 1
        assert "ead-only" in capsys.readouterr().err


def test_a_group_of_commands_shows_what_is_below_it(
    models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("backup", "--help") == 0
    shown = capsys.readouterr().out
    assert "--include-embeddings" in shown and "Commands:" in shown and "prune" in shown
    assert models_here("backup", "--json-schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "What `models backup --json` prints"
