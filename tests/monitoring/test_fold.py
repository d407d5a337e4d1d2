"""Folding the spool: nothing is lost and nothing counts twice, whatever happens between."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Literal

import pytest

from killed import SOAK, fork, interruptions, kill_after
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.monitoring import fold as folding
from modelyard.monitoring.fold import Folded, fold
from modelyard.monitoring.traffic_db import TRAFFIC
from modelyard.records import spool
from modelyard.records.spool import Recorder
from traffic_samples import found, numbered, record

WRITERS, SECONDS, KILLS = 6, min(10.0, 0.6 * SOAK), 8 * SOAK


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few samples, folded in batches of a few."""
    monkeypatch.setattr(spool, "_FULL_BYTES", 600)
    monkeypatch.setattr(folding, "_BATCH", 3)


def known_segments(place: Project) -> list[str]:
    with TRAFFIC.open(place) as traffic:
        return [name for (name,) in traffic.execute("SELECT name FROM segments ORDER BY name")]


def test_where_nothing_was_recorded_nothing_is_made(place: Project) -> None:
    assert fold(place) == Folded(samples=0, skipped=0, skipped_ever=0)
    assert found(place) == []
    assert not place.root.exists()


def test_what_was_recorded_is_folded_once_and_the_segment_goes(place: Project) -> None:
    record(place, range(5))
    assert fold(place) == Folded(samples=5, skipped=0, skipped_ever=0)
    assert place.traffic_segments == []
    assert known_segments(place) == []
    assert fold(place) == Folded(samples=0, skipped=0, skipped_ever=0)
    record(place, range(5, 8))
    assert fold(place).samples == 3
    assert found(place) == list(range(8))


def test_a_segment_that_a_writer_has_open_is_folded_as_it_grows(place: Project) -> None:
    recorder = Recorder(place)
    for number in range(4):
        recorder.record(numbered(number))
        assert fold(place).samples == 1
        assert fold(place).samples == 0
    assert len(place.traffic_segments) == 1
    recorder.close()
    assert fold(place).samples == 0
    assert place.traffic_segments == []
    assert found(place) == list(range(4))


@pytest.mark.usefixtures("small_segments")
def test_many_segments_in_many_batches(place: Project) -> None:
    record(place, range(100))
    assert len(place.traffic_segments) > 10
    assert fold(place).samples == 100
    assert place.traffic_segments == []
    assert found(place) == list(range(100))


def test_skipped_lines_are_counted_once_and_for_ever(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    (path,) = place.traffic_segments
    with path.open("ab") as stream:
        stream.write(b"garbage\n\0\0\0")
    recorder.record(numbered(2))
    assert fold(place) == Folded(samples=2, skipped=2, skipped_ever=2)
    with path.open("ab") as stream:
        stream.write(b"torn")
    assert fold(place).skipped == 0
    recorder.close()
    assert fold(place) == Folded(samples=0, skipped=1, skipped_ever=3)
    assert fold(place).skipped_ever == 3


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.usefixtures("small_segments")
def test_a_fold_cut_off_at_any_call_loses_nothing_and_counts_nothing_twice(
    place: Project, tmp_path: Path, how: Literal["kill", "fail"]
) -> None:
    record(place, range(9))
    open_one = Recorder(place)
    open_one.record(numbered(9))
    open_one.close()
    start = tmp_path / "start"
    shutil.copytree(place.local_state, start)
    for call in interruptions(lambda: fold(place), how):
        record(place, [10])
        assert found(place) == list(range(11)), call
        fold(place)
        assert place.traffic_segments == [], call
        assert known_segments(place) == [], call
        shutil.rmtree(place.local_state)
        shutil.copytree(start, place.local_state)
    assert call > 30


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.usefixtures("small_segments")
def test_recording_cut_off_at_any_call_keeps_what_was_recorded_before(
    place: Project, how: Literal["kill", "fail"]
) -> None:
    kept: set[int] = set()
    for call in interruptions(lambda: _record_and_count(place, 12), how):
        kept.add(len(_counted(place)))
        assert found(place) == _counted(place), call
        shutil.rmtree(place.local_state, ignore_errors=True)
        (place.root / "recorded").unlink(missing_ok=True)
    assert {0, 12} < kept
    assert call > 15


def _record_and_count(place: Project, samples: int) -> None:
    """Record samples, and note each that was not lost."""
    place.root.mkdir(exist_ok=True)
    recorder, lost = Recorder(place), 0
    note = os.open(place.root / "recorded", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(samples):
        recorder.record(numbered(number))
        if recorder.lost == lost:
            os.write(note, b"%d\n" % number)
        lost = recorder.lost


def _counted(place: Project) -> list[int]:
    try:
        return [int(line) for line in (place.root / "recorded").read_text().split()]
    except FileNotFoundError:
        return []


def _write(place: Project, writer: int, note: Path, until: float) -> None:
    """Record numbered samples until that time, in several processes' manner; note each after it."""
    with note.open("ab", buffering=0) as stream:
        number = int(note.read_text().split()[-1]) + 1 if note.stat().st_size else 0
        while time.monotonic() < until:
            recorder = Recorder(place)
            for _ in range(7):
                recorder.record(numbered(writer * 10**6 + number))
                stream.write(b"%d\n" % number)
                number += 1
            assert recorder.problem is None
            recorder.close()


def _noted(note: Path) -> int:
    """How many samples a writer has noted."""
    return len(note.read_text().split()) if note.exists() else 0


def _fold_until(place: Project, until: float) -> None:
    while time.monotonic() < until:
        fold(place)


@pytest.mark.usefixtures("small_segments")
def test_many_writers_and_folders_at_once(place: Project, tmp_path: Path) -> None:
    until = time.monotonic() + SECONDS
    notes = [tmp_path / f"note-{writer}" for writer in range(WRITERS)]
    children = [
        fork(lambda writer=writer, note=note: _write(place, writer, note, until))
        for writer, note in enumerate(notes)
    ]
    children += [fork(lambda: _fold_until(place, until)) for _ in range(3)]
    while time.monotonic() < until:
        before = sum(map(_noted, notes))
        assert len(found(place)) >= before
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
    expected = [
        writer * 10**6 + n for writer, note in enumerate(notes) for n in range(_noted(note))
    ]
    assert sorted(found(place)) == expected
    assert fold(place).skipped_ever == 0
    assert place.traffic_segments == []
    print(f"{WRITERS} writers, 3 folders, {SECONDS:g} s: {len(expected)} samples")


@pytest.mark.usefixtures("small_segments")
def test_processes_killed_while_they_write_and_fold(place: Project, tmp_path: Path) -> None:
    note = tmp_path / "note"
    unnoted = killed = 0
    for seed in range(KILLS):
        until = time.monotonic() + 60
        writer = fork(lambda until=until: _write(place, 0, note, until))
        killed += kill_after(lambda until=until: _fold_until(place, until), 0.01 + seed % 10 / 100)
        os.kill(writer, 9)
        os.waitpid(writer, 0)
        # The last sample of a killed writer may be recorded and not noted.
        numbers, noted = found(place), _noted(note)
        assert numbers in (list(range(noted)), list(range(noted + 1)))
        unnoted += len(numbers) > noted
        with note.open("ab") as stream:
            stream.write(b"".join(b"%d\n" % number for number in numbers[noted:]))
    assert fold(place).skipped_ever == 0
    assert place.traffic_segments == []
    print(f"{killed} folders and {KILLS} writers killed, {len(numbers)} samples, {unnoted} unnoted")
    assert killed == KILLS


def test_a_traffic_db_that_is_lost_begins_again_with_what_the_spool_holds(place: Project) -> None:
    record(place, range(3))
    fold(place)
    recorder = Recorder(place)
    recorder.record(numbered(3))
    fold(place)
    for file in place.local_state.glob("traffic.db*"):
        file.unlink()
    recorder.record(numbered(4))
    assert found(place) == [3, 4]


def test_a_traffic_db_of_a_backup_goes_on_from_its_place_in_the_segment(
    place: Project, tmp_path: Path
) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    fold(place)
    shutil.copy(place.traffic_db, tmp_path / "kept.db")
    recorder.record(numbered(2))
    fold(place)
    for file in place.local_state.glob("traffic.db*"):
        file.unlink()
    shutil.copy(tmp_path / "kept.db", place.traffic_db)
    assert found(place) == [1, 2]


def test_a_segment_that_was_cut_short_by_hand_goes_on_at_its_end(place: Project) -> None:
    recorder = Recorder(place)
    for number in range(10):
        recorder.record(numbered(number))
    fold(place)
    (path,) = place.traffic_segments
    os.truncate(path, 100)
    fold(place)
    recorder.record(numbered(10))
    assert found(place) == list(range(11))
    assert fold(place).skipped_ever == 0


def test_a_damaged_traffic_db_says_what_to_do_and_answers_are_still_recorded(
    place: Project,
) -> None:
    record(place, [1])
    place.traffic_db.write_bytes(b"no database at all" * 1000)
    with pytest.raises(ModelyardError, match=r"traffic\.db: cannot be read") as caught:
        fold(place)
    assert "nothing else depends on it" in str(caught.value.hint)
    with pytest.raises(ModelyardError, match=r"traffic\.db: cannot be read"):
        found(place)
    record(place, [2])
    place.traffic_db.unlink()
    assert found(place) == [1, 2]


def test_a_newer_traffic_db_is_refused_and_left_alone(place: Project) -> None:
    record(place, [1])
    fold(place)
    with sqlite3.connect(place.traffic_db) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    record(place, [2])
    for read in (fold, found):
        with pytest.raises(ModelyardError, match="was written by a newer"):
            read(place)
    assert len(place.traffic_segments) == 1
