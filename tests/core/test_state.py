from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from killed import interruptions
from modelyard.core import state
from modelyard.core.database import Database, transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.core.state import open_state

INSERT = (
    "INSERT INTO pointer_moves (adapter, action, to_version, moved_at, settled) "
    "VALUES ('demo', 'promote', 1, 'now', 1)"
)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def followed_by(script: str) -> Database:
    """state.db with one more migration."""
    return replace(state._STATE, migrations=(*state._STATE.migrations, script))


def count(place: Project) -> int:
    with open_state(place) as connection:
        return int(connection.execute("SELECT count(*) FROM pointer_moves").fetchone()[0])


def test_the_state_is_made_on_first_use_and_kept(place: Project) -> None:
    with open_state(place) as connection:
        connection.execute(INSERT)
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert count(place) == 1


def test_a_transaction_happens_as_a_whole_or_not(place: Project) -> None:
    with pytest.raises(KeyError), open_state(place) as connection, transaction(connection):
        connection.execute(INSERT)
        raise KeyError
    assert count(place) == 0
    with open_state(place) as connection, transaction(connection):
        connection.execute(INSERT)
        connection.execute(INSERT)
    assert count(place) == 2


def test_a_state_of_an_earlier_version_that_cannot_be_written_is_read_in_a_copy(
    place: Project,
) -> None:
    with open_state(place) as connection:
        connection.execute(INSERT)
    before = place.state_db.read_bytes()
    newer = followed_by("ALTER TABLE pointer_moves ADD COLUMN note TEXT;")
    with newer.connect_unwritable(place) as reading:
        assert reading is not None
        assert [
            tuple(row) for row in reading.execute("SELECT adapter, note FROM pointer_moves")
        ] == [("demo", None)]
    assert place.state_db.read_bytes() == before


def test_a_newer_state_is_refused_and_left_alone(place: Project) -> None:
    with open_state(place) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(ModelyardError, match=r"\.models/state\.db: was written by a newer"):
        count(place)
    with sqlite3.connect(place.state_db) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 999
    connection.close()


def test_a_later_schema_is_reached_step_by_step(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_state(place) as connection:
        connection.execute(INSERT)
    later = """
    CREATE TABLE notes (text TEXT) STRICT;  -- words; of people
    CREATE TRIGGER noted AFTER INSERT ON notes BEGIN
        UPDATE pointer_moves SET reason = 'a;b';
        UPDATE pointer_moves SET settled = 0;
    END;
    """
    monkeypatch.setattr(state, "_STATE", followed_by(later))
    with open_state(place) as connection:
        connection.execute("INSERT INTO notes VALUES ('x')")
        row = connection.execute("SELECT reason, settled FROM pointer_moves").fetchone()
        assert tuple(row) == ("a;b", 0)


def test_a_migration_that_fails_changes_nothing(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(place)
    with monkeypatch.context() as patched:
        broken = "CREATE TABLE notes (text TEXT) STRICT; CREATE TABLE notes (text TEXT) STRICT;"
        patched.setattr(state, "_STATE", followed_by(broken))
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            count(place)
    with open_state(place) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'notes'")
        assert tables.fetchall() == []


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_state_cut_off_at_any_call_is_whole_at_the_next(place: Project, how: str) -> None:
    def first_use() -> None:
        with open_state(place) as connection, transaction(connection):
            connection.execute(INSERT)
            connection.execute(INSERT)

    for number in interruptions(first_use, how):
        assert count(place) in (0, 2), number
        for file in place.local_state.glob("state.db*"):
            file.unlink()
    assert number > 10


def test_a_damaged_state_says_what_to_do(place: Project) -> None:
    place.local_state.mkdir(parents=True)
    place.state_db.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(ModelyardError, match=r"state\.db: cannot be read") as caught:
        count(place)
    assert "restore it from a backup" in str(caught.value.hint)


def test_a_bug_in_our_own_sql_is_not_blamed_on_the_file(place: Project) -> None:
    with pytest.raises(sqlite3.IntegrityError), open_state(place) as connection:
        connection.execute("INSERT INTO pointer_moves (adapter) VALUES (NULL)")


def test_a_state_that_stays_busy_is_an_error_to_retry(place: Project) -> None:
    busy = pytest.raises(ModelyardError, match="in use by another process")
    with open_state(place) as holder, transaction(holder), busy, open_state(place) as second:
        second.execute("PRAGMA busy_timeout = 10")
        second.execute(INSERT)


def test_a_full_disk_is_named(place: Project) -> None:
    with pytest.raises(NoSpace), open_state(place) as connection:
        connection.execute("PRAGMA max_page_count = 5")
        for _ in range(1000):
            connection.execute(INSERT.replace("'now'", f"'{'x' * 1000}'"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_project_of_somebody_else_is_named(place: Project) -> None:
    place.root.mkdir()
    place.root.chmod(0o555)
    with pytest.raises(ModelyardError, match="no access"):
        count(place)


def test_a_folder_in_the_place_of_the_state_is_an_error(place: Project) -> None:
    place.state_db.mkdir(parents=True)
    with pytest.raises(ModelyardError, match="cannot be written"):
        count(place)


def test_sixteen_processes_make_and_use_one_new_state(place: Project) -> None:
    script = f"""
import sys
from pathlib import Path
from modelyard.core.layout import Project
from modelyard.core.state import open_state
for _ in range(10):
    with open_state(Project(Path(sys.argv[1]))) as connection:
        connection.execute({INSERT!r})
"""
    command = [sys.executable, "-c", script, str(place.root)]
    processes = [subprocess.Popen(command) for _ in range(16)]
    assert [process.wait() for process in processes] == [0] * 16
    assert count(place) == 160


def test_an_error_of_the_disk_never_advises_to_move_the_history_away(place: Project) -> None:
    count(place)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"
    with pytest.raises(ModelyardError) as caught, state._STATE.errors(place):
        raise error
    assert "move it away" not in str(caught.value.hint)
