"""Times along the foot of a chart are round, in UTC, and few."""

from __future__ import annotations

import time

import pytest

from modelyard.charts.courses import render_course
from modelyard.charts.scales import time_ticks

MIDNIGHT = 1_793_404_800.0  # 2026-10-31, the night after which clocks go back in Berlin


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (24, ["00:00", "06:00", "12:00", "18:00", "00:00"]),
        (1, ["00:00", "00:15", "00:30", "00:45", "01:00"]),
        (24 * 8, ["01 Nov", "03 Nov", "05 Nov", "07 Nov"]),
    ],
)
def test_times_are_round(hours: int, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        ticks = time_ticks(MIDNIGHT, MIDNIGHT + hours * 3600, 4)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [text for _, text in ticks] == expected


def test_a_value_alone_is_a_dot_and_a_far_threshold_is_not_drawn() -> None:
    points = [(MIDNIGHT + hour * 3600, float("nan") if hour else 1.0) for hour in range(24)]
    drawn = render_course("Latency", points, show=str, readout="1 s", threshold=100.0)
    assert drawn.count("<circle") == 1
    assert "limit" not in drawn
    assert "limit" in render_course("Latency", points, show=str, readout="1 s", threshold=1.5)
