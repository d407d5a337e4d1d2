"""Pipes, devices, full and read-only disks: nothing hangs, and what can be read is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy_samples import deploy_config, require_agreement, write_deploy_project
from modelyard.cli.app import main
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.deployments.drift import find_drift
from modelyard.deployments.plan import load_plan
from modelyard.deployments.revisions import load_revision
from small_disk import mounted_disk, remount

FOLDER = ".models/deployed/test"


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, ["gpt4"], environment="test")
    return project


def put_pipe(place: Project) -> Path:
    file = place.deployed("test") / "language_models" / "gpt4.yaml"
    file.unlink()
    os.mkfifo(file)
    return file


def test_a_pipe_in_the_place_of_a_file_is_found_and_mended(place: Project) -> None:
    put_pipe(place)
    path = f"{FOLDER}/language_models/gpt4.yaml"
    (found,) = find_drift(place, "test").files
    assert (found.what, found.path) == ("unreadable", path)
    assert deploy_config(place, ["gpt4"], environment="test").repaired == (found,)
    require_agreement(place)


@pytest.mark.parametrize("what", ["pipe", "/dev/zero"])
def test_a_plan_that_never_ends_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InvalidInput, match="not a regular file"):
        load_plan(path if what == "pipe" else Path(what))


def test_a_plan_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with path.open("wb") as stream:
        stream.truncate(1_000_000_000)
    with pytest.raises(InvalidInput, match="is not a plan"):
        load_plan(path)


def test_a_file_in_the_place_of_the_folder_is_named(place: Project) -> None:
    shutil.rmtree(place.local_state / "deployed")
    (place.local_state / "deployed").write_text("")
    with pytest.raises(ModelyardError, match=r"^\.models/deployed: is not a folder"):
        deploy_config(place, ["claude"], environment="test")


@pytest.mark.parametrize("option", ["--plan", "--dry-run"])
def test_a_plan_says_what_would_be_mended(
    place: Project,
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place.deployed("test").unlink()
    monkeypatch.chdir(place.root)
    monkeypatch.setattr("sys.argv", ["models", "deploy-config", "gpt4", "--env", "test", option])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code or 0) == (4 if option == "--plan" else 0)
    shown = capsys.readouterr().out
    assert f"Would be written again, since changed by hand: {FOLDER}\n" in shown
    assert "Nothing to do" not in shown
    assert not os.path.lexists(place.deployed("test"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Project]:
    """A project on a disk of its own, of 2 MB."""
    with mounted_disk(tmp_path / "disk", "2m") as disk:
        project = write_deploy_project(disk / "project")
        deploy_config(project, ["gpt4"], environment="test")
        in_a_process(project, "deployments")
        yield project


def in_a_process(place: Project, *words: str) -> Any:
    """Run a command in a process that has no connection yet."""
    command = [sys.executable, "-m", "modelyard", *words]
    return subprocess.run(command, cwd=place.root, capture_output=True, text=True, check=False)


def live(place: Project) -> int:
    return load_revision(place, "test").number


def fill(place: Project) -> None:
    with (place.root / "filling").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            pass


def make_read_only(place: Project) -> None:
    remount(place.root.parent, "ro")


def drop_connections(place: Project) -> None:
    """Close what this process keeps open: SQLite then takes its -wal away."""
    from modelyard.core import state

    state._READING.close()
    assert not place.state_db.with_name("state.db-wal").exists()


@pytest.mark.parametrize("trouble", [fill, make_read_only])
def test_readers_read_from_a_disk_that_cannot_be_written(
    small_disk: Project, trouble: Callable[[Project], None]
) -> None:
    drop_connections(small_disk)
    trouble(small_disk)
    for words in (
        ("deployments", "--json"),
        ("deployments", "--drift", "--env", "test"),
        ("switch-config", "--profile", "high_accuracy", "--dry-run"),
    ):
        done = in_a_process(small_disk, *words)
        assert (done.returncode, done.stderr) == (0, ""), words
    assert live(small_disk) == 1


@pytest.mark.parametrize("trouble", [fill, make_read_only])
def test_a_deployment_to_such_a_disk_says_why_it_failed(
    small_disk: Project, trouble: Callable[[Project], None]
) -> None:
    drop_connections(small_disk)
    trouble(small_disk)
    with pytest.raises(ModelyardError) as raised:
        deploy_config(small_disk, ["claude"], environment="test")
    said = f"{raised.value} {raised.value.hint}"
    assert "move it away" not in said
    assert isinstance(raised.value, NoSpace) if trouble is fill else "ead-only" in said


def test_a_reader_sees_what_is_deployed_when_the_disk_has_space_again(small_disk: Project) -> None:
    drop_connections(small_disk)
    fill(small_disk)
    assert live(small_disk) == 1
    (small_disk.root / "filling").unlink()
    deploy_config(small_disk, ["claude"], environment="test")
    assert live(small_disk) == 2
