"""A snapshot is of one moment: links agree with state.db, and nobody waits for the copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from adapter_samples import facts, fill_with
from backup_projects import back_up, make_project, repository_at, restored
from killed import fork
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import active_number, load_version, register_version
from modelyard.backup import moment
from modelyard.backup.moment import reading_moment
from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def prompts(copy: Path) -> list[str]:
    with closing(sqlite3.connect(copy)) as state:
        return [row[0] for row in state.execute("SELECT prompt FROM feedback ORDER BY id")]


def write_at_once(project: Project, prompt: str) -> None:
    """Commit a row; raises sqlite3.OperationalError where that would have to wait."""
    with closing(sqlite3.connect(project.state_db, timeout=0, isolation_level=None)) as state:
        state.execute(
            "INSERT INTO feedback (recorded_at, prompt, answer) VALUES ('now', ?, '')", (prompt,)
        )


def test_nobody_commits_while_names_are_read_and_everybody_while_the_copy_is_made(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = []
    read_names, copied = moment._read_names, moment.copied

    def reading_names(of: Project) -> object:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write_at_once(project, "while names are read")
        happened.append("names")
        return read_names(of)

    @contextmanager
    def copying(connection: sqlite3.Connection, path: Path) -> Iterator[object]:
        write_at_once(project, "after the moment")
        happened.append("copy")
        with copied(connection, path) as copy:
            yield copy

    monkeypatch.setattr(moment, "_read_names", reading_names)
    monkeypatch.setattr(moment, "copied", copying)
    with reading_moment(project) as found:
        assert found.state is not None
        (tmp_path / "copy.db").write_bytes(found.state.read())
    assert happened == ["names", "copy"]
    assert prompts(tmp_path / "copy.db") == ["Who?"]
    assert prompts(project.state_db) == ["Who?", "after the moment"]


def test_links_agree_with_their_history_whenever_a_snapshot_is_made(
    project: Project, tmp_path: Path
) -> None:
    def promote_without_end() -> None:
        versions = [load_version(project, "demo", number) for number in (1, 2)]
        while True:
            for version in versions:
                promote_version(project, version)
                record_feedback(project, [Feedback(prompt="Who?", answer="Ann", rating="good")])

    child = fork(promote_without_end)
    repository = repository_at(tmp_path / "repository")
    try:
        names = [back_up(project, repository).snapshot for _ in range(20)]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    numbers = set()
    for name in names:
        assert name is not None
        back = restored(repository, tmp_path / name, name)
        number = active_number(back, "demo")
        assert pointer_history(back, "demo")[-1].to_version == number
        numbers.add(number)
        with closing(sqlite3.connect(back.state_db)) as state:
            assert state.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(names) == len(set(names))


def test_versions_that_appear_later_are_not_in_it(project: Project) -> None:
    with reading_moment(project) as found:
        register_version(project, "demo", fill=fill_with(), provenance=facts("run-9"))
        assert found.names["models/versions/demo"] == (".highest-number", "1", "2")
        assert found.links["models/trained/demo"] == "../versions/demo/2"


def test_nothing_is_left_of_the_copy(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = project.root.parent / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = sorted(project.local_state.iterdir())
    with reading_moment(project):
        # It has no name, so a killed process leaves nothing either.
        assert list(scratch.iterdir()) == []
    assert sorted(project.local_state.iterdir()) == before


def test_a_damaged_state_is_said_plainly(project: Project) -> None:
    for name in ("state.db-wal", "state.db-shm"):
        (project.local_state / name).unlink(missing_ok=True)
    project.state_db.write_bytes(b"no database" * 1000)
    with pytest.raises(ModelyardError, match=r"state\.db"), reading_moment(project):
        pass


def test_a_project_without_state_has_no_copy(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with reading_moment(project) as found:
        assert found.state is None
        assert found.names["models/trained"] == ()
    assert not project.local_state.exists()


def test_what_is_staged_is_not_there(project: Project) -> None:
    """A link that is about to be moved to its place may vanish while the names are read."""
    (project.trained / ".staging-0123abcd-demo").symlink_to("../versions/demo/1")
    with reading_moment(project) as found:
        names = [*found.names["models/trained"], *found.links]
    assert "demo" in names and "models/trained/demo" in names
    assert not any("staging" in name for name in names)
