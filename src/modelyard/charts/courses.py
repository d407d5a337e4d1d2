"""The course of a value over time, with the threshold that it must keep.

Does not know what is measured; everything it is given is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from modelyard.charts.scales import Point, is_finite, linear, time_ticks, value_axis
from modelyard.charts.svg import axes, chart, figure, percent, px, tag

Show = Callable[[float], str]
"""How a value is written."""

_HEIGHT_PX = 110
_FAR = 2.5
"""A threshold so many times the largest value is not drawn: nothing else could be read."""


def render_course(
    title: str,
    points: Sequence[Point],
    *,
    show: Show,
    readout: str,
    threshold: float | None = None,
    full: float | None = None,
) -> Markup:
    """A value over time, from zero on; points are (seconds since 1970, value), NaN is a gap.

    readout: what is written beside the title.  full: where the axis ends (default: what is needed).
    """
    known = [value for _, value in points if is_finite(value)]
    if not known:
        return figure(title, Markup('<p class="none">No data.</p>'), readout=readout)
    is_drawn = is_finite(threshold) and (threshold <= _FAR * max(known) or full is not None)
    highest = full or max([*known, threshold] if is_drawn and threshold else known)
    low, high, y_ticks = value_axis(0, highest, _HEIGHT_PX)
    high = full or high
    first_s, last_s = points[0][0], points[-1][0]
    across, down = linear(first_s, last_s, 0, 100), linear(high, low, 0, _HEIGHT_PX)
    drawn: list[Markup] = []
    if is_drawn and threshold is not None:
        y = px(down(threshold))
        drawn.append(tag("line", class_="limit", x1=0, x2="100%", y1=y, y2=y))
    path, dots = "", []
    for place, (at_s, value) in enumerate(points):
        if not is_finite(value):
            continue
        before = points[place - 1][1] if place else None
        after = points[place + 1][1] if place + 1 < len(points) else None
        path += f"{'L' if is_finite(before) else 'M'}{across(at_s):.2f} {down(value):.1f}"
        if not is_finite(before) and not is_finite(after):
            dots.append(
                tag("circle", class_="dot", cx=percent(across(at_s)), cy=px(down(value)), r=3)
            )
    box = {"viewBox": f"0 0 100 {_HEIGHT_PX}", "preserveAspectRatio": "none"}
    drawn.append(
        tag("svg", tag("path", class_="curve", d=path), width="100%", height=_HEIGHT_PX, **box)
    )
    hover = [
        (round(across(at_s), 2), f"{_when(at_s)} · {show(value)}")
        for at_s, value in points
        if is_finite(value)
    ]
    x_ticks = [(across(at_s), text) for at_s, text in time_ticks(first_s, last_s, 4)]
    drawing = chart(
        _HEIGHT_PX,
        axes(_HEIGHT_PX, x_ticks, [tick for tick in y_ticks if tick <= high], down, show),
        *drawn,
        *dots,
        label=f"{title}: {readout}; {show(min(known))} to {show(max(known))}",
        hover=json.dumps(hover, ensure_ascii=False, separators=(",", ":")),
    )
    return figure(title, drawing, readout=readout)


def _when(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%d %b %H:%M}"
