"""The numbers behind a chart: ticks, means, fewer points, and how a value is written.

Pure arithmetic; does not know SVG or training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

import numpy as np

Point = tuple[float, float]
"""(x, y); a y that is not finite is a gap."""

_TICK_PX = 55


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a value that can be drawn."""
    return value is not None and math.isfinite(value)


def extent(values: Iterable[float]) -> tuple[float, float]:
    """The smallest and the largest finite value; there must be one."""
    finite = [value for value in values if is_finite(value)]
    return min(finite), max(finite)


def linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Lays `low` on `start` and `high` on `end`; in the middle when `low` and `high` are equal."""
    if high == low:
        return lambda value: (start + end) / 2 if is_finite(value) else value
    return lambda value: start + (end - start) * (value - low) / (high - low)


def show_number(value: float | None) -> str:
    """Three significant digits, thousands with commas: `0.803`, `12.3`, `1,540`, `5e-4`."""
    if not is_finite(value):
        return "–"
    size = abs(value)
    if size and not 0.001 <= size < 1e7:
        mantissa, _, exponent = f"{size:.2e}".partition("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    else:
        decimals = max(0, 2 - math.floor(math.log10(size))) if size else 0
        text = f"{size:,.{decimals}f}"
    return f"−{text}" if value < 0 else text


def show_tick(value: float) -> str:
    """The same without zeros at the end: `0.5`, `2`."""
    text = show_number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def show_interval(mean: float, low: float, high: float) -> str:
    """`−2.10 (−2.30 to −1.90)`, all to the digits that its width gives a meaning."""
    width = high - low or abs(mean) or 1.0
    decimals = max(0, 1 - math.floor(math.log10(width)))
    shown = [f"{value:,.{decimals}f}".replace("-", "−") for value in (mean, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def show_duration(seconds: float) -> str:
    """`42 s`, `3 min 42 s`, `1 h 05 min`."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {rest_min:02} min"
    return f"{minutes} min {rest_s:02} s" if minutes else f"{rest_s} s"


def smooth(points: Sequence[Point], width: int) -> list[Point]:
    """Each value as the mean of the finite values among the `width` around it; gaps stay."""
    values = np.array([y for _, y in points])
    finite = np.isfinite(values)
    window = np.ones(width)
    sums = np.convolve(np.where(finite, values, 0), window, "same")
    means = sums / np.maximum(np.convolve(finite, window, "same"), 1)
    shown = np.where(finite, means, np.nan).tolist()
    return [(x, mean) for (x, _), mean in zip(points, shown, strict=True)]


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points: the lowest and highest of each stretch, so no peak is lost."""
    if len(points) <= limit:
        return list(points)
    width = math.ceil(2 * len(points) / limit)
    kept: list[Point] = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        finite = [point for point in stretch if math.isfinite(point[1])] or stretch[:1]
        ends = (min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1]))
        kept += sorted(set(ends))
    return kept


def value_axis(
    low: float, high: float, height_px: int, *, from_zero: bool = True
) -> tuple[float, float, list[float]]:
    """The ends of a vertical axis and its ticks."""
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        high = low + 1
    ticks = round_ticks(low, high, max(2, height_px // _TICK_PX))
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    low = math.floor(low / step) * step
    high += 0.04 * (high - low)
    return low, high, round_ticks(low, high, max(2, height_px // _TICK_PX))


def round_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round values between `low` and `high`: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= 0.6 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


_TIME_STEPS_S = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
_DAY_S = 86_400


def time_ticks(first_s: float, last_s: float, wanted: int) -> list[tuple[float, str]]:
    """Round times between two, in seconds since 1970, and how each is written, in UTC.

    Below a day apart they are times of day, else dates. UTC has no hour twice.
    """
    span = last_s - first_s
    rough = span / wanted
    step = next((step for step in _TIME_STEPS_S if step >= rough), 0)
    if not step:
        step = _DAY_S * max(1, round(rough / _DAY_S))
    form = "%H:%M" if step < _DAY_S else "%d %b"
    index = math.ceil(first_s / step)
    ticks = []
    while index * step <= last_s:
        at_s = index * step
        ticks.append((float(at_s), datetime.fromtimestamp(at_s, UTC).strftime(form)))
        index += 1
    return ticks
