"""Old samples go and the disk gets their room back; figures stay, whoever is killed when."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from killed import interruptions
from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.configs.kinds.integration import SampleRetention
from modelyard.core.layout import Project
from modelyard.monitoring import retention as removing
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.fold import fold
from modelyard.monitoring.periods import Period, read_period
from modelyard.monitoring.ratings import read_ratings
from modelyard.monitoring.retention import Removed, apply_retention
from modelyard.monitoring.rollups import HOUR_MS
from modelyard.monitoring.samples import open_traffic, read_samples
from modelyard.monitoring.traffic_db import TRAFFIC
from modelyard.records.spool import Recorder
from small_disk import mounted_disk
from traffic_samples import numbered

DAY_MS = 24 * HOUR_MS
NOW = 1_800_000_000_000 // HOUR_MS * HOUR_MS + HOUR_MS // 2
WEEK = SampleRetention(age_s=7 * 86400.0)
KEPT = SampleRetention()


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def record_at(
    place: Project, ages_ms: list[int], *, folded: bool = True, **values: Any
) -> list[str]:
    """Record a sample of each age, in development; their ids."""
    recorder, ids = Recorder(place), []
    for number, age_ms in enumerate(ages_ms):
        ids.append(f"{values.get('environment', 'development')}-{age_ms}-{number}")
        facts = {"environment": "development", "answer_id": ids[-1], **values}
        recorder.record(numbered(number, answered_at_ms=NOW - age_ms, **facts))
    recorder.close()
    assert recorder.problem is None
    if folded:
        fold(place)
    return ids


def requests(place: Project, since_ms: int) -> int:
    """How many requests of development the last so many milliseconds had."""
    period = Period(start_ms=NOW - since_ms, end_ms=NOW + 1)
    with open_traffic(place) as traffic:
        chosen = choose_answers(place, "development", None)
        return read_period(traffic, chosen, period)[None][0].requests()


def ages(place: Project, environment: str | None = "development") -> list[int]:
    found = read_samples(place, filters={"environment": environment})
    return sorted((NOW - sample.answered_at_ms) // DAY_MS for sample in found)


def test_what_is_too_old_goes_and_its_figures_stay(place: Project) -> None:
    record_at(place, [day * DAY_MS for day in range(30)])
    record_at(place, [20 * DAY_MS], environment="production")
    record_at(place, [20 * DAY_MS, 2 * DAY_MS], environment=None)
    before = {days: requests(place, days * DAY_MS) for days in (1, 8, 40)}
    removed = apply_retention(place, "development", WEEK, now_ms=NOW)
    assert removed.samples == 23
    assert ages(place) == list(range(8))
    assert ages(place, "production") == [20]
    assert ages(place, None) == [2]
    assert {days: requests(place, days * DAY_MS) for days in (1, 8, 40)} == before


def test_a_short_period_from_before_is_read_by_whole_hours(place: Project) -> None:
    record_at(place, [8 * DAY_MS + minutes * 60_000 for minutes in range(180)])
    apply_retention(place, "development", WEEK, now_ms=NOW)
    assert ages(place) == []
    period = Period(start_ms=NOW - 8 * DAY_MS - 40 * 60_000, end_ms=NOW - 8 * DAY_MS + 1)
    with open_traffic(place) as traffic:
        chosen = choose_answers(place, "development", None)
        [total] = read_period(traffic, chosen, period)[None]
    assert total.requests() == 31 + 60  # the half hour until then, and all of the hour before


def test_answers_that_were_rated_stay(place: Project) -> None:
    ids = record_at(place, [8 * DAY_MS, 9 * DAY_MS, 10 * DAY_MS])
    record_feedback(place, [Feedback(answer_id=ids[1], rating="good")])
    apply_retention(place, "development", WEEK, now_ms=NOW)
    assert ages(place) == [9]
    forever = Period(start_ms=0, end_ms=4 * NOW)
    with open_traffic(place) as traffic:
        chosen = choose_answers(place, "development", None)
        [ratings] = read_ratings(place, traffic, chosen, forever)[None]
    assert (ratings.good, ratings.rated) == (1, 1)


def test_it_looks_once_an_hour_and_again_when_the_clock_was_set_back(place: Project) -> None:
    record_at(place, [0])
    assert apply_retention(place, "development", WEEK, now_ms=NOW).samples == 0
    record_at(place, [9 * DAY_MS])
    soon = NOW + HOUR_MS - 1
    assert apply_retention(place, "development", WEEK, now_ms=soon).samples == 0
    assert apply_retention(place, "development", WEEK, now_ms=NOW - DAY_MS).samples == 1


def test_a_clock_that_was_years_ahead_leaves_no_blind_time(place: Project) -> None:
    record_at(place, [minutes * 60_000 for minutes in range(20)])
    apply_retention(place, "development", WEEK, now_ms=NOW + 10 * 365 * DAY_MS)
    assert ages(place) == []
    later = NOW + 2 * HOUR_MS
    record_at(place, [-2 * HOUR_MS + minutes * 60_000 for minutes in range(20)])
    apply_retention(place, "development", WEEK, now_ms=later)
    period = Period(start_ms=later - 15 * 60_000, end_ms=later + 1)
    with open_traffic(place) as traffic:
        chosen = choose_answers(place, "development", None)
        assert read_period(traffic, chosen, period)[None][0].requests() == 16


def test_a_file_that_is_too_large_becomes_smaller_and_the_disk_has_the_room(
    place: Project,
) -> None:
    record_at(place, [hour * HOUR_MS // 200 for hour in range(12_000)])
    with TRAFFIC.open(place) as traffic:
        traffic.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = place.traffic_db.stat().st_size
    small = SampleRetention(size_bytes=before // 2)
    removed = apply_retention(place, "development", small, now_ms=NOW)
    after = place.traffic_db.stat().st_size
    assert after <= before // 2
    assert removed == Removed(samples=removed.samples, bytes=before - after)
    assert 4_000 < removed.samples < 10_000
    assert requests(place, 200 * HOUR_MS) == 12_000
    assert apply_retention(place, "development", small, now_ms=NOW).samples == 0
    record_at(place, [0])
    assert requests(place, HOUR_MS) == requests(place, 200 * HOUR_MS) - 11_799


def test_a_file_of_an_earlier_version_gets_small_too(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(TRAFFIC), "shrinks", False)
        record_at(place, [8 * DAY_MS + number for number in range(5000)])
    with TRAFFIC.open(place) as traffic:
        traffic.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = place.traffic_db.stat().st_size
    apply_retention(place, "development", WEEK, now_ms=NOW)
    assert place.traffic_db.stat().st_size < before / 4


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_removal_cut_off_at_any_call_loses_no_figure_and_the_next_completes_it(
    place: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Literal["kill", "fail"]
) -> None:
    monkeypatch.setattr(removing, "_AT_ONCE", 3)
    record_at(place, [number * DAY_MS for number in range(16)])
    record_at(place, [0, 8 * DAY_MS], folded=False)
    start = tmp_path / "start"
    shutil.copytree(place.local_state, start)
    work = lambda: apply_retention(place, "development", WEEK, now_ms=NOW)  # noqa: E731
    for call in interruptions(work, how):
        assert requests(place, 40 * DAY_MS) == 18, call
        assert requests(place, 3 * HOUR_MS) == 2, call
        apply_retention(place, "development", WEEK, now_ms=NOW + HOUR_MS)
        assert ages(place) == [0, *range(7)], call
        shutil.rmtree(place.local_state)
        shutil.copytree(start, place.local_state)
    assert call > 20


def test_a_disk_that_is_full_keeps_everything_and_says_so(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "4m") as disk:
        place = Project(disk / "project")
        record_at(place, [number * 60_000 for number in range(0, 40_000, 20)])
        with (disk / "rest").open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(b"0" * 4096):
                pass
        assert requests(place, 40 * DAY_MS) == 2000
        (disk / "rest").unlink()
        assert apply_retention(place, "development", WEEK, now_ms=NOW).samples > 1000
        assert requests(place, 40 * DAY_MS) == 2000
