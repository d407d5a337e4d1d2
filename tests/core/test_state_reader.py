"""The connection that is kept: for every thread, every process, and every file in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killed import fork
from modelyard.core import state
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state

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
    assert len(state._kept) <= state._MOST_KEPT


def test_a_damaged_file_is_an_error_with_a_hint(tmp_path: Path) -> None:
    place = Project(tmp_path)
    place.local_state.mkdir()
    place.state_db.write_bytes(b"no database" * 1000)
    with pytest.raises(ModelyardError, match=r"\.models/state\.db: cannot be read"):
        pins(place)
