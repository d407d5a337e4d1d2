"""Small charts in a line of text."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"


def render_sparkline(values: Sequence[float | None]) -> str:
    """One character a value, from 0 to the largest; `·` where there is none."""
    top = max((value for value in values if value is not None), default=0.0)
    return "".join(_GAP if value is None else _bar(value, top) for value in values)


def _bar(value: float, top: float) -> str:
    height = value / top if top > 0 else 0.0
    return _BARS[min(len(_BARS) - 1, int(height * len(_BARS)))]
