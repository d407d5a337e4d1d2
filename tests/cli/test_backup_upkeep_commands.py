"""`models backup list`, `show`, `diff`, `prune` and `copy`, as people see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from modelyard.backup.encryption import KEY_VARIABLE
from modelyard.core.layout import Project

Models = Callable[..., int]


@pytest.fixture
def configs(models_here: Models, tmp_path: Path) -> Project:
    """A project with one config, of which two snapshots were made."""
    assert models_here("init", "mine") == 0
    project = Project(tmp_path / "mine")
    run(models_here, project, "backup", "--tag", "first")
    (project.configs / "extra.txt").write_text("more")
    run(models_here, project, "backup")
    return project


def run(models: Models, project: Project, *words: str, code: int = 0) -> None:
    assert models("--project", str(project.root), *words) == code


def ids(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str], *more: str
) -> list[str]:
    capsys.readouterr()
    run(models, project, "backup", "list", "--json", *more)
    return [one["snapshot"] for one in json.loads(capsys.readouterr().out)["snapshots"]]


def test_snapshots_are_listed_shown_and_compared(
    models_here: Models, configs: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ids(models_here, configs, capsys)
    run(models_here, configs, "backup", "list")
    said = capsys.readouterr()
    assert said.out.index(first) < said.out.index(second) and "first" in said.out
    assert "2 snapshots in file://" in said.err
    run(models_here, configs, "backup", "show", "latest")
    said = capsys.readouterr()
    assert "configs/embedding_models" in said.out and "left out" in said.out
    run(models_here, configs, "backup", "show", "latest", "--files")
    assert "configs/extra.txt" in capsys.readouterr().out
    run(models_here, configs, "backup", "show", first, "--files")
    assert "configs/extra.txt" not in capsys.readouterr().out
    run(models_here, configs, "backup", "diff", first, "latest")
    assert "configs/extra.txt" in capsys.readouterr().out


def test_a_damaged_snapshot_is_named_and_the_exit_is_1(
    models_here: Models, configs: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ids(models_here, configs, capsys)
    (configs.backups / "snapshots" / first).write_bytes(b"nothing")
    run(models_here, configs, "backup", "list", code=1)
    said = capsys.readouterr()
    assert first in said.err and second in said.out


def test_a_snapshot_that_lacks_something_is_said_and_the_exit_is_1(
    models_here: Models, configs: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (configs.configs / "outside.yaml").symlink_to("/nowhere")
    run(models_here, configs, "backup", code=1)
    assert "configs/outside.yaml: is a link that leaves" in capsys.readouterr().err
    run(models_here, configs, "backup", "list")
    assert "lacks 1 thing" in capsys.readouterr().err
    run(models_here, configs, "backup", "show", "latest")
    assert "configs/outside.yaml" in capsys.readouterr().err


def test_prune_says_what_it_keeps_and_when_the_rest_goes(
    models_here: Models, configs: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ids(models_here, configs, capsys)
    run(models_here, configs, "backup", "prune", "--keep-last", "1", "--dry-run")
    said = capsys.readouterr()
    assert "would be removed" in said.out
    assert ids(models_here, configs, capsys) == [first, second]
    run(models_here, configs, "backup", "prune", "--keep-last", "1")
    said = capsys.readouterr()
    assert "Deleted 0 packs" in said.out and "removed" in said.out
    assert ids(models_here, configs, capsys) == [second]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "nothing says which snapshots to keep"),
        (("--keep-daily", "3", "--grace", "2 hours"), "24 hours or more"),
        (("--keep-daily", "3", "--grace", "soon"), "24 hours or more"),
    ],
)
def test_prune_needs_a_rule_and_a_day_of_grace(
    models_here: Models,
    configs: Project,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    run(models_here, configs, "backup", "prune", *words, code=2)
    assert expected in capsys.readouterr().err


def test_a_copy_has_a_key_of_its_own_that_is_never_an_argument(
    models_here: Models,
    configs: Project,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = str(pyrage.x25519.Identity.generate())
    (tmp_path / "usb.key").write_text(secret)
    place = (tmp_path / "usb").as_uri()
    words = ("backup", "copy", "--to", place, "--to-key", f"file:{tmp_path}/usb.key")
    run(models_here, configs, *words)
    assert "2 snapshots copied" in capsys.readouterr().err
    run(models_here, configs, *words)
    said = capsys.readouterr()
    assert "was there" in said.out and "0 snapshots copied" in said.err
    run(models_here, configs, "backup", "list", "--repo", place, code=2)
    assert "no key was given" in capsys.readouterr().err
    monkeypatch.setenv(KEY_VARIABLE, secret)
    assert len(ids(models_here, configs, capsys, "--repo", place)) == 2
    run(models_here, configs, "backup", "list", "--key", secret, "--repo", place, code=2)
    said = capsys.readouterr()
    assert "named by its place" in said.err and secret not in said.err


def test_the_backups_of_a_project_that_is_gone_are_listed(
    models_here: Models,
    configs: Project,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "elsewhere"
    configs.backups.rename(place)
    monkeypatch.delenv("MODELS_PROJECT")  # of --project, in this process
    assert models_here("backup", "list") == 2
    assert "--repo" in capsys.readouterr().err
    assert models_here("backup", "list", "--repo", place.as_uri()) == 0
    assert "2 snapshots" in capsys.readouterr().err


def test_a_recipient_can_open_a_new_repository_too(
    models_here: Models,
    configs: Project,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, emergency = (pyrage.x25519.Identity.generate() for _ in range(2))
    place = (tmp_path / "elsewhere").as_uri()
    monkeypatch.setenv(KEY_VARIABLE, str(mine))
    words = ("backup", "--repo", place, "--recipient", str(emergency.to_public()))
    run(models_here, configs, *words)
    monkeypatch.setenv(KEY_VARIABLE, str(emergency))
    assert len(ids(models_here, configs, capsys, "--repo", place)) == 1
    run(models_here, configs, *words, code=2)
    assert "recipients are of a new repository" in capsys.readouterr().err
    monkeypatch.delenv(KEY_VARIABLE)
    other = (tmp_path / "other").as_uri()
    run(models_here, configs, *words[:2], other, *words[3:], code=2)
    assert "recipients are of a new repository" in capsys.readouterr().err
