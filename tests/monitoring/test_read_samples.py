"""Reading what was recorded: by time and by field, from any disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killed import fork
from modelyard.core.layout import Project
from modelyard.monitoring.fold import fold
from modelyard.monitoring.samples import read_samples
from modelyard.monitoring.traffic_db import TRAFFIC
from modelyard.records.sample import FIELDS
from modelyard.records.spool import Recorder
from shared_project import share_with_all
from small_disk import mounted_disk, remount
from traffic_samples import found, numbered, record

T0 = numbered(0).answered_at_ms


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_samples_come_back_as_they_were_recorded(place: Project) -> None:
    written = [
        numbered(1),
        numbered(2, organisation="a", cost_usd=0.25, outcome="failed", parent_id="answer-1"),
        numbered(3, environment="production", config_revision=7, first_token_s=0, domain="code"),
    ]
    recorder = Recorder(place)
    for sample in written:
        recorder.record(sample)
    assert list(read_samples(place)) == written


def test_what_an_earlier_version_recorded_is_of_answers(place: Project) -> None:
    """Both what it had folded, and what still lay in its spool."""
    earlier = replace(TRAFFIC, migrations=TRAFFIC.migrations[:1])
    folded = numbered(1)
    values = {name: getattr(folded, name) for name in FIELDS if getattr(folded, name) is not None}
    del values["kind"]
    with earlier.open(place) as traffic:
        places = ", ".join("?" * len(values))
        insert = f"INSERT INTO samples ({', '.join(values)}) VALUES ({places})"
        traffic.execute(insert, tuple(values.values()))
    segment = place.traffic_segment("earlier")
    segment.parent.mkdir()
    segment.write_bytes(b"\n%b\n" % numbered(2).to_line().replace(b'"kind":"answer",', b""))
    assert list(read_samples(place)) == [folded, numbered(2)]


def test_a_time_is_from_its_first_millisecond_on_and_before_its_last(place: Project) -> None:
    record(place, range(10))
    chosen = read_samples(place, since_ms=T0 + 3, until_ms=T0 + 6)
    assert [sample.prompt_tokens for sample in chosen] == [3, 4, 5]


def test_a_clock_that_goes_back_orders_by_what_it_said(place: Project) -> None:
    record(place, [5, 6])
    fold(place)
    record(place, [1, 2])
    assert found(place) == [1, 2, 5, 6]


def test_filters_are_of_any_field_and_none_is_unknown(place: Project) -> None:
    recorder = Recorder(place)
    for number, values in enumerate(
        [{}, {"organisation": "a"}, {"organisation": "b"}, {"organisation": "a", "domain": "x"}]
    ):
        recorder.record(numbered(number, **values))

    def chosen(**filters: str | int | None) -> list[int | None]:
        return [sample.prompt_tokens for sample in read_samples(place, filters=filters)]

    assert chosen(organisation="a") == [1, 3]
    assert chosen(organisation=None) == [0]
    assert chosen(organisation="a", domain="x") == [3]
    assert chosen(prompt_tokens=2) == [2]
    assert chosen(organisation="' OR 1 --") == []
    with pytest.raises(ValueError, match="a sample has no colour"):
        chosen(colour="red")


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", "2m") as disk:
        yield disk


def make_read_only(disk: Path) -> None:
    remount(disk, "ro")


@pytest.mark.parametrize("trouble", [fill, make_read_only])
@pytest.mark.parametrize("folded", [False, True])
def test_all_is_read_from_a_disk_that_cannot_be_written(
    disk: Path, trouble: Callable[[Path], None], folded: bool
) -> None:
    place = Project(disk / "project")
    record(place, range(3))
    if folded:
        fold(place)
        record(place, range(3, 6))
    before = sorted(path.name for path in place.local_state.rglob("*"))
    trouble(disk)
    assert found(place) == list(range(6 if folded else 3))
    chosen = read_samples(place, since_ms=T0 + 1, filters={"prompt_tokens": 2})
    assert [sample.answer_id for sample in chosen] == ["answer-2"]
    if trouble is make_read_only:
        assert sorted(path.name for path in place.local_state.rglob("*")) == before
    remount(disk, "rw")
    (disk / "filling").unlink(missing_ok=True)
    assert found(place) == list(range(6 if folded else 3))
    assert place.traffic_segments == []


@pytest.mark.parametrize("trouble", [fill, make_read_only])
def test_a_reader_beside_a_killed_folder_reads_its_journal(
    disk: Path, trouble: Callable[[Path], None]
) -> None:
    place = Project(disk / "project")
    record(place, range(3))

    def fold_and_die() -> None:
        with TRAFFIC.open(place) as traffic:
            traffic.execute("SELECT * FROM samples").fetchall()
            fold(place)
            os._exit(0)

    os.waitpid(fork(fold_and_die), 0)
    assert place.traffic_db.with_name("traffic.db-wal").stat().st_size
    record(place, [3])
    trouble(disk)
    assert found(place) == [0, 1, 2, 3]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_all_and_changes_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        Path(folder).chmod(0o755)
        place = Project(Path(folder) / "project")
        share_with_all(place)
        record(place, range(3))
        fold(place)
        record(place, [3])
        before = sorted(place.local_state.rglob("*"))

        def read_as_another() -> None:
            os.setgid(65534)
            os.setuid(65534)
            assert found(place) == [0, 1, 2, 3]

        assert os.waitpid(fork(read_as_another), 0)[1] == 0
        assert sorted(place.local_state.rglob("*")) == before
