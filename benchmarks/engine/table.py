"""Rows of the table: what was measured, its bar, and whether the bar was reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

HEADS = ("what", "prototype", "bar", "measured", "", "figures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one figure has to reach."""

    what: str
    """The figure, in words."""
    prototype: str
    """What a prototype reached, on another machine."""
    least: float | None = None
    """The figure must not be lower."""
    most: float | None = None
    """The figure must not be higher."""
    goal: float | None = None
    """What would be better than the bar."""
    unit: str = ""
    """The unit of the figure; a ratio has none."""

    def measured(self, figure: float, figures: str) -> Row:
        """The row of a measured figure; `figures` are what it was computed from."""
        hit = (self.least is None or figure >= self.least) and (
            self.most is None or figure <= self.most
        )
        shown = f"{figure:,.0f} {self.unit}" if self.unit else f"{figure:.2f}"
        return Row(self, shown, "hit" if hit else "missed", figures)

    def left_out(self, why: str) -> Row:
        """The row of a figure that was not measured."""
        return Row(self, "", "left out", why)

    def __str__(self) -> str:
        sign, value = ("≥", self.least) if self.most is None else ("≤", self.most)
        goal = f", goal {self.goal:g}" if self.goal else ""
        return f"{sign} {value:g} {self.unit}".rstrip() + goal


@dataclass(frozen=True, slots=True)
class Row:
    """A bar and what was found."""

    bar: Bar
    measured: str
    verdict: str
    figures: str

    @property
    def cells(self) -> tuple[str, ...]:
        """One text for each column."""
        bar = self.bar
        return bar.what, bar.prototype, str(bar), self.measured, self.verdict, self.figures


def render(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [HEADS, ("---",) * len(HEADS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


Report = Callable[[str], None]
"""Takes a line about how far a measurement is."""
