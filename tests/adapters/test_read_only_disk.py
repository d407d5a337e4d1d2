"""Commands that only read work on a disk that is read-only or full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import facts, fill_with
from modelyard.adapters.export import describe_export, write_export
from modelyard.adapters.gc import pin_version
from modelyard.adapters.promote import promote_version
from modelyard.adapters.registry.push import push_version
from modelyard.adapters.registry.registry import open_registry
from modelyard.adapters.versions import load_version, register_version
from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.cli.app import main
from modelyard.core import state
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.core.state import open_state
from small_disk import mounted_disk, remount

COMMANDS = (
    ("adapters", "list"),
    ("adapters", "show", "demo"),
    ("adapters", "history", "demo"),
    ("feedback", "list"),
)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """demo@1 and demo@2 on a disk of their own, and what is recorded about them."""
    with mounted_disk(tmp_path / "disk", "2m") as disk:
        project = Project(disk / "project")
        project.configs.mkdir(parents=True)
        project.models.mkdir()
        for number in (1, 2):
            run = facts(f"run-{number}")
            version = register_version(project, "demo", fill=fill_with(), provenance=run)
            promote_version(project, version)
        pin_version(project, "demo", 1, reason="the first")
        record_feedback(project, [Feedback(prompt="Who?", answer="Ann", rating="good")])
        yield project


@pytest.fixture
def answers(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], dict[tuple[str, ...], Any]]:
    """What every command prints as JSON, from a new connection."""
    monkeypatch.chdir(project.root)

    def ask() -> dict[tuple[str, ...], Any]:
        state._READING.close()
        printed = {}
        for words in COMMANDS:
            monkeypatch.setattr("sys.argv", ["models", *words, "--json"])
            with pytest.raises(SystemExit) as stopped:
                main()
            shown = capsys.readouterr()
            assert (stopped.value.code or 0, shown.err) == (0, ""), words
            printed[words] = json.loads(shown.out)
        return printed

    return ask


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            pass


@pytest.mark.parametrize("trouble", [fill, lambda disk: remount(disk, "ro")])
def test_everything_recorded_is_read_from_such_a_disk(
    project: Project, answers: Callable[[], Any], trouble: Callable[[Path], None]
) -> None:
    before = answers()
    assert [move["to_version"] for move in before["adapters", "history", "demo"]] == [1, 2]
    state._READING.close()
    trouble(project.root.parent)
    assert answers() == before


def test_a_move_that_a_killed_process_left_pending_is_in_the_history(
    project: Project, answers: Callable[[], Any]
) -> None:
    with open_state(project) as connection:
        connection.execute("UPDATE pointer_moves SET settled = 0 WHERE to_version = 2")
    state._READING.close()
    remount(project.root.parent, "ro")
    moves = answers()["adapters", "history", "demo"]
    assert [move["to_version"] for move in moves] == [1, 2]


@pytest.mark.parametrize("trouble", [fill, lambda disk: remount(disk, "ro")])
def test_what_is_written_elsewhere_needs_no_lock_in_the_project(
    project: Project, tmp_path: Path, trouble: Callable[[Path], None]
) -> None:
    version = load_version(project, "demo", 2)
    trouble(project.root.parent)
    registry = open_registry((tmp_path / "registry").as_uri(), make=True)
    assert registry is not None
    assert push_version(project, version, registry, progress=Silent()).added

    def write(folder: Path) -> dict[str, Any]:
        (folder / "file").write_text("exported")
        return {}

    identity = describe_export(version, "peft")
    assert write_export(project, tmp_path / "exported", identity, write, wait_s=0).made
