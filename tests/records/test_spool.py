"""What writers leave in the spool, whatever else lies there."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from killed import fork
from modelyard.core.layout import Project
from modelyard.records import spool
from modelyard.records.sample import Sample
from modelyard.records.spool import Recorder, hold_segment, read_batch
from small_disk import mounted_disk
from traffic_samples import numbered, record


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def samples(place: Project, *, final: bool = True) -> tuple[list[Sample], int]:
    """All samples in the spool, and the lines that are none."""
    found: list[Sample] = []
    skipped = 0
    for path in place.traffic_segments:
        with hold_segment(path, to_remove=final) as segment:
            assert segment
            assert segment.final == final
            batch = read_batch(segment, 0, most=10**9)
            found, skipped = found + batch.samples, skipped + batch.skipped
    return found, skipped


def numbers(place: Project) -> list[int]:
    return sorted(sample.prompt_tokens or 0 for sample in samples(place)[0])


def test_samples_of_one_process_after_the_other_are_in_one_file(place: Project) -> None:
    for number in range(5):
        record(place, [number])
    assert len(place.traffic_segments) == 1
    assert samples(place) == ([numbered(number) for number in range(5)], 0)


def test_threads_share_a_recorder(place: Project) -> None:
    recorder = Recorder(place)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: recorder.record(numbered(number)), range(500)))
    recorder.close()
    assert numbers(place) == list(range(500))


def test_a_forked_child_appends_too(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(0))
    assert os.waitpid(fork(lambda: recorder.record(numbered(1))), 0)[1] == 0
    recorder.record(numbered(2))
    recorder.close()
    assert numbers(place) == [0, 1, 2]


def test_a_full_segment_is_followed_by_another(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_FULL_BYTES", 1000)
    record(place, range(50))
    record(place, range(50, 60))
    paths = place.traffic_segments
    assert len(paths) > 5
    assert max(path.stat().st_size for path in paths) < 1300
    assert numbers(place) == list(range(60))


def test_a_segment_that_a_writer_has_open_is_not_given_to_be_removed(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    (path,) = place.traffic_segments
    with hold_segment(path, to_remove=True) as segment:
        assert segment
        assert not segment.final
    recorder.close()
    with hold_segment(path, to_remove=True) as segment:
        assert segment
        assert segment.final
        record(place, [2])  # does not wait, and takes another
    assert len(place.traffic_segments) == 2
    assert numbers(place) == [1, 2]


def test_a_segment_that_went_while_it_was_waited_for_is_gone(place: Project) -> None:
    record(place, [1])
    (path,) = place.traffic_segments
    with ThreadPoolExecutor(1) as threads:
        with hold_segment(path, to_remove=True) as first:
            assert first
            second = threads.submit(hold_segment(path, to_remove=True).__enter__)
            time.sleep(0.05)
            assert not second.done()
            path.unlink()
        assert second.result() is None
    with hold_segment(path, to_remove=False) as segment:
        assert segment is None


def test_a_segment_that_is_removed_just_before_a_writer_locks_it_is_not_written_to(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(place, [1])
    (path,) = place.traffic_segments
    lock = fcntl.flock

    def remove_and_lock(handle: int, kind: int) -> None:
        path.unlink(missing_ok=True)
        lock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    record(place, [2])
    assert numbers(place) == [2]


def test_what_is_not_ours_in_the_folder_is_left_alone(place: Project, tmp_path: Path) -> None:
    folder = place.traffic_segment("any").parent
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (folder / "link.jsonl").symlink_to(target)
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    record(place, [1])
    assert target.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    kept = []
    for path in place.traffic_segments:
        with hold_segment(path, to_remove=True) as segment:
            kept += [path] if segment else []
    assert len(kept) == 1


def test_a_spool_that_was_removed_is_made_again(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    shutil.rmtree(place.local_state)
    recorder.record(numbered(2))
    recorder.close()
    assert recorder.lost == 0
    assert numbers(place) == [2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 5000,
        b"\n\n \n",
        b"no sample\n",
        b"x" * 100_000,
        b"x" * 100_000 + b"\n",
        b"\xff\xfe\n{}\n[1]\n",
        b'{"answer_id":"a',
        b"y" * spool.LONGEST_LINE + b"\n",
    ],
)
def test_garbage_between_samples_costs_no_sample(place: Project, garbage: bytes) -> None:
    record(place, [1])
    (path,) = place.traffic_segments
    for number in (2, 3):
        with path.open("ab") as stream:
            stream.write(garbage)
        record(place, [number])
    found, skipped = samples(place)
    assert found == [numbered(1), numbered(2), numbered(3)]
    assert skipped == 2 * sum(1 for line in garbage.split(b"\n") if line.strip())


def test_a_line_without_its_end_waits_while_somebody_may_write_it(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    (path,) = place.traffic_segments
    with path.open("ab") as stream:
        stream.write(numbered(2).to_line()[:20])
    assert samples(place, final=False) == ([numbered(1)], 0)
    recorder.close()
    assert samples(place) == ([numbered(1)], 1)


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 512):
                pass
        except OSError:
            pass


def test_a_full_disk_loses_what_did_not_fit_and_nothing_else(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "1m") as disk:
        place = Project(disk / "project")
        recorder = Recorder(place)
        recorder.record(numbered(0))
        fill(disk)
        recorded, lost = [0], 0
        for number in range(1, 200):
            recorder.record(numbered(number))
            if recorder.lost == lost:
                recorded.append(number)
            lost = recorder.lost
        assert recorder.problem == os.strerror(errno.ENOSPC)
        assert 0 < lost < 200
        (disk / "filling").unlink()
        for number in range(200, 210):
            recorder.record(numbered(number))
        assert recorder.lost == lost
        recorder.close()
        found, skipped = samples(place)
        assert [one.prompt_tokens for one in found] == [*recorded, *range(200, 210)]
        assert skipped == 1


def test_a_part_of_a_line_is_ended_by_the_next(place: Project) -> None:
    recorder = Recorder(place)
    recorder.record(numbered(1))
    (path,) = place.traffic_segments
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, kept[1]))
    try:
        recorder.record(numbered(2))
        recorder.record(numbered(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert recorder.lost == 2
    recorder.record(numbered(4))
    recorder.close()
    assert samples(place) == ([numbered(1), numbered(4)], 1)


@pytest.mark.parametrize("what", ["file", "no permission"])
def test_where_nothing_can_be_written_a_sample_is_lost_and_said(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Project(tmp_path / "project")
    place.root.mkdir()
    if what == "file":
        place.local_state.write_text("")
    else:

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(os, "open", refused)
    recorder = Recorder(place)
    recorder.record(numbered(1))
    recorder.record(numbered(2))
    assert recorder.lost == 2
    assert recorder.problem
