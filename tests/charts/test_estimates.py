"""Charts of estimates: what is drawn where."""

from __future__ import annotations

import re

from modelyard.charts.estimates import Estimate, render_distribution, render_estimates


def show(value: float) -> str:
    return f"{value:g}"


def places(html: str, look: str) -> list[float]:
    found = re.findall(rf'<circle class="dot {look}" cx="([\d.]+)%"', html)
    return [float(place) for place in found]


def test_values_lie_where_they_are_between_zero_and_full() -> None:
    made = [Estimate(name=f"{i}", value=i / 4, text="") for i in range(5)]
    assert places(render_estimates("Shares", made, show=show, full=1.0), "tuned") == [
        0,
        25,
        50,
        75,
        100,
    ]


def test_a_threshold_far_away_does_not_press_the_values_together() -> None:
    near = Estimate(name="a", value=1.0, text="", threshold=2.0)
    far = Estimate(name="a", value=1.0, text="", threshold=100.0)
    assert 'class="zero"' in render_estimates("t", [near], show=show)
    drawn = render_estimates("t", [far], show=show)
    assert 'class="zero"' not in drawn
    assert places(drawn, "tuned") == [94.34]


def test_an_unknown_value_is_named_and_not_drawn() -> None:
    made = [Estimate(name="a", value=None, text="unknown"), Estimate(name="b", value=1, text="1")]
    drawn = render_estimates("t", made, show=show)
    assert len(places(drawn, "tuned")) == 1
    assert "unknown" in drawn
    assert "No values." in render_estimates("t", made[:1], show=show)


def test_all_zero_is_drawn_at_zero() -> None:
    made = [Estimate(name="a", value=0.0, low=0.0, high=0.0, text="$0")]
    assert places(render_estimates("t", made, show=show), "tuned") == [0]


def test_a_distribution_counts_every_value_once() -> None:
    values = [0.1 * i for i in range(200)]
    drawn = render_distribution("t", values, show=show, marks=[("median", 9.95)])
    counts = [int(count) for count in re.findall(r": (\d+) requests?</title>", drawn)]
    assert sum(counts) == 200
    assert "median 9.95" in drawn
    assert "No values." in render_distribution("t", [], show=show)
    assert "4 requests" in render_distribution("t", [2.0] * 4, show=show)
