"""Figures as people read them, in a terminal, an alert or a page."""

from __future__ import annotations

from modelyard.monitoring.measures import Figure, Unit
from modelyard.settings.units import DURATION, MONEY, SHARE


def show_value(value: float | None, unit: Unit) -> str:
    """A value in its unit, to three digits."""
    if value is None:
        return "no data"
    if unit == "count":
        return f"{value:,.0f}"
    return show_threshold(float(f"{value:.3g}"), unit)


def show_threshold(value: float, unit: Unit) -> str:
    """A value in its unit, with all its digits."""
    return {"share": SHARE, "seconds": DURATION, "usd": MONEY}[unit].show(value)


def show_interval(figure: Figure, unit: Unit) -> str:
    """The 95% interval of a figure; nothing where it has none."""
    if figure.low is None and figure.high is None:
        return ""
    if figure.high is None:
        return f"from {show_value(figure.low, unit)}"
    if figure.low is None:
        return f"to {show_value(figure.high, unit)}"
    return f"{show_value(figure.low, unit)} to {show_value(figure.high, unit)}"


def show_breach(measure: str, value: float | None, threshold: float, unit: Unit) -> str:
    """Such as `accuracy 72% (threshold 85%)`."""
    return f"{measure} {show_value(value, unit)} (threshold {show_threshold(threshold, unit)})"
