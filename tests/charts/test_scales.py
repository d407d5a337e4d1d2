"""The numbers behind a chart."""

from __future__ import annotations

import math

import pytest

from modelyard.charts.scales import (
    linear,
    round_ticks,
    show_duration,
    show_interval,
    show_number,
    show_tick,
    smooth,
    thin,
    value_axis,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.8034, "0.803"),
        (2.9, "2.90"),
        (-2.098, "−2.10"),
        (18.17, "18.2"),
        (41_003.6, "41,004"),
        (5e-4, "5e-4"),
        (3.2e9, "3.2e9"),
        (math.nan, "–"),
        (math.inf, "–"),
        (None, "–"),
    ],
)
def test_a_number_is_shown_to_three_digits(value: float | None, text: str) -> None:
    assert show_number(value) == text


def test_a_tick_has_no_empty_digits() -> None:
    assert [show_tick(value) for value in (0, 0.5, 2.0, 1500, 2e-4)] == [
        "0",
        "0.5",
        "2",
        "1,500",
        "2e-4",
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((-2.098, -2.304, -1.902), "−2.10 (−2.30 to −1.90)"),
        ((-0.03, -0.11, 0.05), "−0.03 (−0.11 to 0.05)"),
        ((0.01, 0.01, 0.01), "0.010 (0.010 to 0.010)"),
        ((0.0, 0.0, 0.0), "0.0 (0.0 to 0.0)"),
    ],
)
def test_an_interval_has_the_digits_its_width_gives(
    values: tuple[float, float, float], text: str
) -> None:
    assert show_interval(*values) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (42, "42 s"), (222.4, "3 min 42 s"), (3899, "1 h 04 min"), (math.nan, "–")],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_ticks_are_round_and_inside() -> None:
    assert round_ticks(1, 72, 4) == [20, 40, 60]
    assert round_ticks(0, 0.0005, 2) == pytest.approx([0, 0.0002, 0.0004])
    assert round_ticks(3, 3, 4) == [3]


def test_an_axis_holds_all_values() -> None:
    low, high, ticks = value_axis(0.431, 4.34, 260, from_zero=False)
    assert low <= 0.431 and high >= 4.34
    assert ticks == [0, 1, 2, 3, 4]
    assert value_axis(0, 0, 110)[:2] == (0, pytest.approx(1.04))


def test_equal_ends_lie_in_the_middle() -> None:
    assert linear(5, 5, 0, 100)(5) == 50
    assert linear(0, 10, 100, 0)(10) == 0


def test_thinning_keeps_every_peak_and_the_order() -> None:
    points = [(float(x), 1.0) for x in range(20_000)]
    points[777], points[15_000] = (777.0, 9.0), (15_000.0, -3.0)
    kept = thin(points, 600)
    assert len(kept) <= 600
    assert kept == sorted(kept)
    assert {(777.0, 9.0), (15_000.0, -3.0)} <= set(kept)
    assert thin(points[:600], 600) == points[:600]


def test_a_mean_is_taken_over_the_neighbours_that_have_a_value() -> None:
    points = [(1.0, 1.0), (2.0, 3.0), (3.0, math.nan), (4.0, 5.0)]
    smoothed = [y for _, y in smooth(points, 3)]
    assert smoothed[:2] == [2.0, 2.0]
    assert math.isnan(smoothed[2])
    assert smoothed[3] == 5.0
