"""The connection that is kept: for every thread, every process, and every file in its place."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from killed import fork
from modelyard.core import kept_connections, state
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.state import change_state, open_state, read_state

INSERT = "INSERT INTO pins (adapter, version, pinned_at) VALUES ('demo', ?, 'now')"
QUERY = "SELECT version FROM pins ORDER BY version"


def pin(place: Project, number: int) -> None:
    with open_state(place) as state:
        state.execute(INSERT, (number,))


def pins(place: Project) -> list[int]:
    return [row[0] for row in read_state(place, QUERY)]


def test_where_nothing_was_recorded_there_are_no_rows_and_no_file(tmp_path: Path) -> None:
    place = Project(tmp_path)
    assert pins(place) == []
    assert list(tmp_path.glob(".models")) == []


def test_what_another_connection_writes_is_seen_at_once(tmp_path: Path) -> None:
    place = Project(tmp_path)
    for number in (1, 2, 3):
        pin(place, number)
        assert pins(place) == list(range(1, number + 1))


def test_a_forked_child_reads_and_writes_on_its_own(tmp_path: Path) -> None:
    place = Project(tmp_path)
    pin(place, 1)
    assert pins(place) == [1]

    def child() -> None:
        assert pins(place) == [1]
        pin(place, 2)
        assert pins(place) == [1, 2]

    assert os.waitpid(fork(child), 0)[1] == 0
    assert pins(place) == [1, 2]


def test_only_a_few_connections_are_kept(tmp_path: Path) -> None:
    places = [Project(tmp_path / str(number)) for number in range(10)]
    for number, place in enumerate(places):
        pin(place, number)
    for _ in range(2):
        assert [pins(place) for place in places] == [[number] for number in range(10)]
    assert len(state._READING._kept) <= kept_connections._MOST_KEPT


def test_a_damaged_file_is_an_error_with_a_hint(tmp_path: Path) -> None:
    place = Project(tmp_path)
    place.local_state.mkdir()
    place.state_db.write_bytes(b"no database" * 1000)
    with pytest.raises(ModelyardError, match=r"\.models/state\.db: cannot be read"):
        pins(place)


def test_a_change_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    place = Project(tmp_path)
    with pytest.raises(KeyError), change_state(place) as connection:
        connection.execute(INSERT, (1,))
        raise KeyError
    with change_state(place) as connection:
        connection.execute(INSERT, (2,))
    assert pins(place) == [2]


def test_a_change_within_a_change_is_a_bug_and_spoils_neither(tmp_path: Path) -> None:
    place = Project(tmp_path)
    with change_state(place) as connection:
        connection.execute(INSERT, (1,))
        with pytest.raises(RuntimeError), change_state(place):
            pass
    with change_state(place) as connection:
        connection.execute(INSERT, (2,))
    assert pins(place) == [1, 2]


@pytest.mark.parametrize("sync", [True, False])
def test_a_forked_child_changes_on_its_own_while_a_thread_is_at_it(
    tmp_path: Path, sync: bool
) -> None:
    place = Project(tmp_path)

    def child() -> None:
        with change_state(place, sync=sync) as connection:
            connection.execute(INSERT, (2,))

    begun = threading.Event()

    def work() -> None:
        with change_state(place, sync=sync) as connection:
            connection.execute(INSERT, (1,))
            begun.set()
            time.sleep(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    assert os.waitpid(fork(child), 0)[1] == 0
    thread.join()
    assert pins(place) == [1, 2]


def test_a_file_that_took_the_place_of_another_is_the_one_that_is_changed(tmp_path: Path) -> None:
    place, kept = Project(tmp_path), tmp_path / "kept.db"
    pin(place, 1)
    shutil.copy(place.state_db, kept)
    with change_state(place) as connection:
        connection.execute(INSERT, (2,))
    for beside in ("-wal", "-shm"):
        place.state_db.with_name(f"state.db{beside}").unlink()
    kept.replace(place.state_db)
    with change_state(place) as connection:
        connection.execute(INSERT, (3,))
    assert pins(place) == [1, 3]


def test_an_interrupt_between_begin_and_the_change_blocks_no_later_one(tmp_path: Path) -> None:
    place = Project(tmp_path)
    with change_state(place) as connection:
        connection.execute(INSERT, (1,))
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(INSERT, (2,))
    with change_state(place) as connection:
        connection.execute(INSERT, (3,))
    assert pins(place) == [1, 3]


def test_threads_change_one_after_the_other(tmp_path: Path) -> None:
    place = Project(tmp_path)

    def work(first: int) -> None:
        for number in range(first, first + 20):
            with change_state(place, sync=number % 2 == 0) as connection:
                connection.execute(INSERT, (number,))

    threads = [threading.Thread(target=work, args=(20 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pins(place) == list(range(120))
