"""Which snapshots the rules keep."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.backup.manifest import Item, Snapshot
from modelyard.backup.retention import Keep, kept_snapshots
from modelyard.backup.selection import Selection
from modelyard.core.errors import InvalidInput

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)


def snapshot(
    made: datetime,
    *,
    host: str = "a",
    tag: str | None = None,
    selection: Selection = Selection(),  # noqa: B008 (frozen)
) -> Snapshot:
    return Snapshot(
        id=f"{made:%Y%m%dT%H%M%SZ}-00000000",
        created_at=f"{made:%Y-%m-%dT%H:%M:%SZ}",
        host=host,
        project="/srv/project",
        modelyard="1",
        selection=selection,
        tag=tag,
        root=Item(path="", kind="folder"),
        items=0,
        files=0,
        bytes=0,
    )


def nightly(nights: int) -> list[Snapshot]:
    return [snapshot(NOW - timedelta(days=night)) for night in reversed(range(nights))]


def days(kept: dict[str, tuple[str, ...]], rule: str) -> list[str]:
    return [id[:8] for id in sorted(kept) if rule in kept[id]]


def test_the_newest_of_each_day_week_and_month_are_kept() -> None:
    kept = kept_snapshots(nightly(400), Keep(daily=7, weekly=4, monthly=12))
    assert days(kept, "daily") == [f"202611{day}" for day in range(24, 31)]
    assert days(kept, "weekly") == ["20261115", "20261122", "20261129", "20261130"]
    assert days(kept, "monthly")[:3] == ["20251231", "20260131", "20260228"]
    assert len(days(kept, "monthly")) == 12
    assert kept["20261130T030000Z-00000000"] == ("daily", "weekly", "monthly")
    assert len(kept) == 7 + 2 + 11


def test_days_without_a_snapshot_do_not_count() -> None:
    found = [snapshot(NOW - timedelta(days=gap)) for gap in (0, 40, 41, 300)]
    kept = kept_snapshots(found, Keep(daily=3))
    assert sorted(kept) == sorted(one.id for one in found[:3])


def test_the_last_ones_are_kept_whenever_they_were_made() -> None:
    found = [snapshot(NOW + timedelta(minutes=minute)) for minute in range(9)]
    assert sorted(kept_snapshots(found, Keep(last=2))) == [one.id for one in found[-2:]]
    assert sorted(kept_snapshots(found, Keep(daily=5))) == [found[-1].id]


def test_an_id_that_is_ahead_of_its_time_makes_no_snapshot_newer() -> None:
    ahead = replace(snapshot(NOW), id="20261130T030059Z-00000000")
    newer = snapshot(NOW + timedelta(seconds=5))
    assert sorted(kept_snapshots([ahead, newer], Keep(last=1))) == [newer.id]


def test_another_machine_or_selection_takes_no_place() -> None:
    one_adapter = Selection(models=("support",))
    found = [
        snapshot(NOW),
        snapshot(NOW + timedelta(hours=1), selection=one_adapter),
        snapshot(NOW + timedelta(hours=2), host="b"),
    ]
    assert len(kept_snapshots(found, Keep(last=1))) == 3


def test_with_a_tag_all_others_are_kept() -> None:
    found = [snapshot(NOW + timedelta(hours=hour), tag="nightly") for hour in range(3)]
    found += [snapshot(NOW + timedelta(hours=9)), snapshot(NOW, tag="before-move", host="c")]
    kept = kept_snapshots(found, Keep(last=1, tag="nightly"))
    assert [id for id, why in kept.items() if why == ("last",)] == [found[2].id]
    assert kept[found[3].id] == ("has no tag",)
    assert kept[found[4].id] == ("has another tag",)
    assert len(kept) == 3


@pytest.mark.parametrize("numbers", [{}, {"daily": -1}, {"last": 0, "tag": "x"}])
def test_rules_that_keep_nothing_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        Keep(**numbers)  # type: ignore[arg-type]
