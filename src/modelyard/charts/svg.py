"""The parts of a chart as inline SVG: elements, frames, whiskers, figures.

Positions across are percentages and text keeps its size, so one drawing serves a wide screen, a
phone and paper. Colours come from the page's style sheet, by class name. Everything is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from modelyard.charts.scales import show_tick

LINE_PX = 22
"""Height of a line of text in a chart."""
_TICK_ROW_PX = 24


def axes(
    height_px: int,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[float] = (),
    down: Callable[[float], float] = float,
    show: Callable[[float], str] = show_tick,
) -> Markup:
    """Grid lines with their values, and the values along the foot."""
    drawn = []
    for value in y_ticks:
        y = px(down(value))
        drawn.append(tag("line", class_="grid", x1=0, x2="100%", y1=y, y2=y))
        drawn.append(tag("text", show(value), class_="tick end", x=-8, y=y, dy=4))
    for x, text in x_ticks:
        side = "end" if x > 96 else "start" if x < 4 else "middle"
        place = {"x": percent(x), "y": height_px + _TICK_ROW_PX - 6}
        drawn.append(tag("text", text, class_=f"tick {side}", **place))
    return Markup("").join(drawn)


def whisker(start: str, end: str, y: int) -> Markup:
    """An interval, with a halo that keeps it visible on a bar."""
    lines = (
        {"x1": start, "x2": end, "y1": y, "y2": y},
        {"x1": start, "x2": start, "y1": y - 5, "y2": y + 5},
        {"x1": end, "x2": end, "y1": y - 5, "y2": y + 5},
    )
    drawn = [tag("line", class_=look, **line) for look in ("halo", "whisker") for line in lines]
    return Markup("").join(drawn)


def chart(
    height_px: int,
    *drawn: Markup,
    label: str,
    hover: str | None = None,
    axis: bool = True,
    flush: bool = False,
) -> Markup:
    """A drawing as wide as its figure.

    label: what it shows, in words.  hover: JSON of (place across in percent, text) that the script
    of the page shows under the pointer.  axis: whether there is a row of ticks below.
    flush: whether it begins where its caption does, since nothing stands to the left of it.
    """
    whole_px = height_px + (_TICK_ROW_PX if axis else 0)
    attributes: dict[str, Any] = {}
    if hover is not None:
        attributes = {"data-hover": hover, "data-height": height_px}
    if flush:
        attributes["class_"] = "flush"
    return tag("svg", *drawn, role="img", height=whole_px, aria_label=label, **attributes)


def figure(
    title: str,
    drawing: Markup,
    *,
    key: Sequence[tuple[str, str]] = (),
    readout: str | None = None,
) -> Markup:
    """A drawing with its caption: the title, a key of names and looks, and a value that is read."""
    caption = [tag("b", title)]
    caption += [tag("span", name, class_=f"key {look}") for name, look in key]
    if readout is not None:
        caption.append(tag("output", readout))
    return tag("figure", tag("figcaption", *caption), drawing)


def tag(name: str, *children: str, **attributes: Any) -> Markup:
    """An element with its text and attributes escaped: `class_` is class, `a_b` is a-b."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, given, Markup("").join(children))


def percent(value: float) -> str:
    """A place or a length across."""
    return f"{value:.2f}%"


def px(value: float) -> str:
    """A place or a length down."""
    return f"{value:.1f}"
