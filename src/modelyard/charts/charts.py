"""Charts as inline SVG: curves, histograms, bars, intervals.

Does not know what is drawn; everything it is given is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from modelyard.charts.scales import (
    Point,
    extent,
    is_finite,
    linear,
    round_ticks,
    show_interval,
    show_number,
    show_tick,
    thin,
    value_axis,
)
from modelyard.charts.svg import LINE_PX, axes, chart, figure, percent, px, tag, whisker
from modelyard.core.wording import counted

Look = Literal["faint", "train", "eval", "base", "tuned"]
"""A colour of the style sheet."""

_DRAWN_POINTS = 600
_BAR_PERCENT = 80  # the rest of the width is for the values


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart."""

    name: str
    """What its values are, such as `eval loss`."""
    points: Sequence[Point]
    """Its values, by rising x; one that is not finite leaves a gap."""
    look: Look = "train"
    """Its colour."""
    dots: bool = False
    """Mark every value with a dot; for few values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One horizontal bar."""

    name: Literal["base", "tuned"]
    """Whose value it is, written beside it."""
    value: float | None
    """Its length; None or NaN draws none."""
    text: str
    """The value as a person reads it."""
    interval: tuple[float, float] | None = None
    """Where the true value lies with 95% confidence."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One estimate with its 95% interval."""

    name: str
    """What is estimated."""
    mean: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


def render_curves(
    title: str, curves: Sequence[Curve], *, x_name: str, small: bool = False
) -> Markup:
    """Curves over a common x; the first one is the one whose values show under the pointer."""
    height_px = 110 if small else 260
    curves = [curve for curve in curves if any(is_finite(y) for _, y in curve.points)]
    if not curves:
        return figure(title, Markup('<p class="none">No values.</p>'))
    first, last = extent(x for curve in curves for x, _ in curve.points)
    lowest, highest = extent(y for curve in curves for _, y in curve.points)
    low, high, y_ticks = value_axis(lowest, highest, height_px, from_zero=small)
    across = linear(first, last, 0, 100)
    down = linear(high, low, 0, height_px)

    def read(curve: Curve, point: Point) -> str:
        name = f"{curve.name} " if len(curves) > 1 else ""
        return f"{x_name} {point[0]:,.0f} · {name}{show_number(point[1])}"

    paths, dots = [], []
    for curve in curves:
        drawn = [(across(x), down(y)) for x, y in thin(curve.points, _DRAWN_POINTS)]
        paths.append(tag("path", class_=f"curve {curve.look}", d=_path(drawn)))
        known = [point for point in curve.points if is_finite(point[1])]
        for x, y in known if curve.dots or len(known) == 1 else ():
            label = tag("title", read(curve, (x, y)))
            place = {"cx": percent(across(x)), "cy": px(down(y))}
            dots.append(tag("circle", label, class_=f"dot {curve.look}", r=4, **place))
    box = {"viewBox": f"0 0 100 {height_px}", "preserveAspectRatio": "none"}
    hover = [
        (round(across(x), 2), read(curves[0], (x, y)))
        for x, y in thin(curves[0].points, _DRAWN_POINTS)
        if is_finite(y)
    ]
    drawing = chart(
        height_px,
        axes(
            height_px,
            _whole_ticks(first, last, across, wanted=2 if small else 4, name=x_name),
            y_ticks,
            down,
        ),
        tag("svg", *paths, width="100%", height=height_px, **box),
        *dots,
        label=f"{title}: {'; '.join(map(_summary, curves))}",
        hover=json.dumps(hover, ensure_ascii=False, separators=(",", ":")),
    )
    key = [(curve.name, curve.look) for curve in curves] if len(curves) > 1 else []
    at_rest = [point for point in curves[0].points if is_finite(point[1])][-1]
    return figure(title, drawing, key=key, readout=read(curves[0], at_rest))


def render_histogram(title: str, bars: Sequence[tuple[int, int, int]], *, unit: str) -> Markup:
    """Counts of whole values: each bar is (smallest value, largest value, count)."""
    height_px = 120
    if not bars:
        return figure(title, Markup('<p class="none">No rows.</p>'))
    first, last = bars[0][0], bars[-1][1] + 1
    _, high, y_ticks = value_axis(0, max(count for _, _, count in bars), height_px)

    across = linear(first, last, 0, 100)
    down = linear(high, 0, 0, height_px)
    drawn = [
        tag(
            "rect",
            tag("title", f"{low:,} to {end:,} {unit}: {counted(count, 'row')}"),
            class_="column",
            x=percent(across(low)),
            y=px(down(count)),
            width=percent(across(end + 1) - across(low)),
            height=px(height_px - down(count)),
        )
        for low, end, count in bars
    ]
    rows = counted(sum(count for _, _, count in bars), "row")
    label = f"{title}: {rows} of {first:,} to {last - 1:,} {unit}"
    whole_counts = [count for count in y_ticks if count == int(count)]
    frame = axes(height_px, _whole_ticks(first, last, across, wanted=4), whole_counts, down)
    return figure(title, chart(height_px, frame, *drawn, label=label))


def render_bars(
    title: str, groups: Sequence[tuple[str, Sequence[Bar]]], *, full: float | None = None
) -> Markup:
    """Bars in named groups, from zero to `full` (default: the largest value)."""
    bars = [bar for _, members in groups for bar in members]
    ends = [bar.interval[1] if bar.interval else bar.value for bar in bars]
    largest = full or max(filter(is_finite, ends), default=0) or 1

    def length(value: float) -> str:
        return percent(_BAR_PERCENT * max(0.0, min(value / largest, 1.0)))

    drawn: list[Markup] = []
    top = 0
    for heading, members in groups:
        drawn.append(tag("text", heading, class_="group", x=0, y=top + 14))
        top += LINE_PX
        for bar in members:
            middle = top + 9
            drawn.append(tag("text", bar.name, class_="tick end", x=-8, y=middle + 4))
            drawn.append(tag("text", bar.text, class_="value end", x="100%", y=middle + 4))
            shape = {"x": 0, "y": middle - 6, "height": 12}
            drawn.append(tag("rect", class_="track", width=length(largest), **shape))
            if is_finite(bar.value):
                width = length(bar.value)
                drawn.append(tag("rect", class_=f"bar {bar.name}", width=width, **shape))
            if bar.interval:
                drawn.append(whisker(length(bar.interval[0]), length(bar.interval[1]), middle))
            top += LINE_PX
        top += 8
    label = f"{title}: " + "; ".join(
        f"{heading} {', '.join(f'{bar.name} {bar.text}' for bar in members)}"
        for heading, members in groups
    )
    return figure(title, chart(top - 8, *drawn, label=label, axis=False))


def render_intervals(title: str, intervals: Sequence[Interval], *, unit: str) -> Markup:
    """Estimates with their intervals against zero."""
    lowest, highest = extent(
        [0.0, *(end for interval in intervals for end in (interval.low, interval.high))]
    )
    margin = 0.06 * (highest - lowest or 1)
    lowest, highest = lowest - margin, highest + margin
    height_px = 2 * LINE_PX * len(intervals)
    across = linear(lowest, highest, 0, 100)
    zero = percent(across(0))
    drawn: list[Markup] = []
    texts = []
    for index, item in enumerate(intervals):
        top = 2 * LINE_PX * index
        text = show_interval(item.mean, item.low, item.high)
        texts.append(f"{item.name} {text}")
        ends = (percent(across(item.low)), percent(across(item.high)))
        drawn += [
            tag("text", item.name, class_="group", x=0, y=top + 14),
            tag("text", text, class_="value end", x="100%", y=top + 14),
            tag("line", class_="grid", x1=0, x2="100%", y1=top + 31, y2=top + 31),
            tag("line", class_="zero", x1=zero, x2=zero, y1=top + 23, y2=top + 39),
            whisker(*ends, top + 31),
            tag("circle", class_="dot tuned", cx=percent(across(item.mean)), cy=top + 31, r=4.5),
        ]
    x_ticks = [(across(value), show_tick(value)) for value in round_ticks(lowest, highest, 5)]
    frame = axes(height_px, x_ticks)
    label = f"{title}, in {unit}: {'; '.join(texts)}"
    return figure(title, chart(height_px, frame, *drawn, label=label))


def _path(points: Sequence[Point]) -> str:
    """A path with a gap at each missing value; a value alone becomes a point."""
    parts: list[str] = []
    in_gap = True
    for x, y in points:
        if is_finite(y):
            parts.append(f"{'M' if in_gap else 'L'}{x:.2f} {y:.1f}{'h0' if in_gap else ''}")
        in_gap = not is_finite(y)
    return "".join(parts)


def _summary(curve: Curve) -> str:
    values = [point for point in curve.points if is_finite(point[1])]
    (first_x, first_y), (last_x, last_y) = values[0], values[-1]
    return (
        f"{curve.name} {show_number(first_y)} at {first_x:,.0f}, "
        f"{show_number(last_y)} at {last_x:,.0f}"
    )


def _whole_ticks(
    first: float, last: float, across: Callable[[float], float], *, wanted: int, name: str = ""
) -> list[tuple[float, str]]:
    """Round whole values along the foot; the first one says what they are."""
    values = [value for value in round_ticks(first, last, wanted) if value == int(value)]
    return [
        (across(value), f"{'' if index else name} {value:,.0f}".strip())
        for index, value in enumerate(values)
    ]
