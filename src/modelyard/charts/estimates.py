"""Charts of estimates: a dot and its whiskers for each, and how values are distributed.

Does not know what is estimated; everything it is given is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from modelyard.charts.pages import Tone
from modelyard.charts.scales import is_finite, linear, round_ticks, value_axis
from modelyard.charts.svg import LINE_PX, axes, chart, figure, percent, px, tag, whisker
from modelyard.core.wording import counted

Show = Callable[[float], str]
"""How a value is written."""

_HISTOGRAM_PX = 120
_WANTED_BARS = 24
_TICKS = 4
_FAR = 2.5
"""A threshold so many times the largest value is not drawn: nothing else could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One value with what is known of it."""

    name: str
    """What is estimated."""
    value: float | None
    """The estimate; None draws none."""
    low: float | None = None
    """Lower end of its interval; None: it has no end that the data show."""
    high: float | None = None
    """Upper end; None likewise."""
    text: str
    """The value as a person reads it."""
    look: Tone | Literal["tuned"] = "tuned"
    """The colour of its dot."""
    threshold: float | None = None
    """What must be kept, drawn as a line across."""
    before: float | None = None
    """What it was before, drawn as a ring."""


def render_estimates(
    title: str, estimates: Sequence[Estimate], *, show: Show, full: float | None = None
) -> Markup:
    """Estimates below each other on one axis, from zero to `full` (default: what they need)."""
    known = [
        end
        for item in estimates
        for end in (item.value, item.low, item.high, item.before)
        if is_finite(end)
    ]
    if not known:
        return figure(title, Markup('<p class="none">No values.</p>'))
    thresholds = [item.threshold for item in estimates if is_finite(item.threshold)]
    largest = max(known)
    drawn_thresholds = [value for value in thresholds if value <= _FAR * largest or full]
    highest = full or 1.06 * max([*known, *drawn_thresholds]) or 1.0
    across = linear(0.0, highest, 0, 100)
    drawn: list[Markup] = []
    for index, item in enumerate(estimates):
        top = 2 * LINE_PX * index
        drawn += [
            tag("text", item.name, class_="group", x=0, y=top + 14),
            tag("text", item.text, class_="value end", x="100%", y=top + 14),
            tag("line", class_="grid", x1=0, x2="100%", y1=top + 31, y2=top + 31),
            *_marks(item, across, highest, top + 31),
        ]
    height_px = 2 * LINE_PX * len(estimates)
    x_ticks = [(across(value), show(value)) for value in round_ticks(0.0, highest, _TICKS)]
    key = [("threshold", "zero")] if drawn_thresholds else []
    if any(is_finite(item.before) for item in estimates):
        key.append(("baseline", "before"))
    label = f"{title}: {'; '.join(f'{item.name} {item.text}' for item in estimates)}"
    drawing = chart(height_px, axes(height_px, x_ticks), *drawn, label=label, flush=True)
    return figure(title, drawing, key=key)


def _marks(
    item: Estimate, across: Callable[[float], float], highest: float, y: int
) -> list[Markup]:
    """Whiskers, threshold, the value before and the value, in this order from below."""
    drawn: list[Markup] = []
    if is_finite(item.low) and is_finite(item.high):
        drawn.append(whisker(percent(across(item.low)), percent(across(item.high)), y))
    if is_finite(item.threshold) and item.threshold <= highest:
        x = percent(across(item.threshold))
        drawn.append(tag("line", class_="zero", x1=x, x2=x, y1=y - 10, y2=y + 10))
    if is_finite(item.before):
        place = percent(across(item.before))
        drawn.append(tag("circle", class_="dot before", cx=place, cy=y, r=5))
    if is_finite(item.value):
        place = percent(across(item.value))
        drawn.append(tag("circle", class_=f"dot {item.look}", cx=place, cy=y, r=4.5))
    return drawn


def render_distribution(
    title: str,
    values: Sequence[float],
    *,
    show: Show,
    marks: Sequence[tuple[str, float]] = (),
    noun: str = "request",
) -> Markup:
    """How many values lie where, from zero on, with lines at `marks` (name and value)."""
    finite = [value for value in values if is_finite(value) and value >= 0]
    if not finite:
        return figure(title, Markup('<p class="none">No values.</p>'))
    largest = max(finite) or 1.0
    ticks = round_ticks(0.0, largest, _WANTED_BARS)
    width = ticks[1] - ticks[0] if len(ticks) > 1 else largest
    bars = math.floor(largest / width * (1 + 1e-9)) + 1
    counts = [0] * bars
    for value in finite:
        counts[min(bars - 1, math.floor(value / width * (1 + 1e-9)))] += 1
    across = linear(0.0, bars * width, 0, 100)
    _, high, y_ticks = value_axis(0, max(counts), _HISTOGRAM_PX)
    down = linear(high, 0, 0, _HISTOGRAM_PX)
    drawn = [
        tag(
            "rect",
            tag(
                "title",
                f"{show(index * width)} to {show((index + 1) * width)}: {counted(count, noun)}",
            ),
            class_="column",
            x=percent(across(index * width)),
            y=px(down(count)),
            width=percent(across(width)),
            height=px(_HISTOGRAM_PX - down(count)),
        )
        for index, count in enumerate(counts)
        if count
    ]
    for _, value in marks:
        x = percent(across(value))
        drawn.append(tag("line", class_="zero", x1=x, x2=x, y1=0, y2=_HISTOGRAM_PX))
    x_ticks = [(across(value), show(value)) for value in round_ticks(0.0, bars * width, _TICKS)]
    frame = axes(_HISTOGRAM_PX, x_ticks, [y for y in y_ticks if y == int(y)], down)
    read = " · ".join(f"{name} {show(value)}" for name, value in marks)
    label = f"{title}: {counted(len(finite), noun)} up to {show(largest)}; {read}"
    drawing = chart(_HISTOGRAM_PX, frame, *drawn, label=label)
    return figure(title, drawing, readout=read or None)
