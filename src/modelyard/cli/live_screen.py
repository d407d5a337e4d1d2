"""A display that takes the whole terminal and changes, such as that of `models monitor --watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from modelyard.cli.render import out, styled, width_of_table
from modelyard.core.errors import InvalidInput
from modelyard.core.wording import visible_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table

_FRAME = 4
"""Lines of a table that are not its rows."""
_LEAST = 1 + _FRAME + 2
"""Lines that one takes at least, its heading included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A heading with a table below it, of which what has no room is cut."""

    title: str
    """The heading."""
    title_style: str = "bold"
    """How rich shows it."""
    columns: Sequence[str] = ()
    """As those of `print_table`; without any there is only the heading."""
    rows: Sequence[Sequence[str]] = ()
    """Its cells."""
    last_styles: Sequence[str] = ()
    """For each row, how rich shows its last cell."""


class LiveScreen:
    """The whole terminal, drawn anew now and then; what stood there comes back at the end."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, draw: Callable[[int], Sequence[LiveTable]]) -> None:
        """Show what `draw` makes of the width of the terminal, now and whenever that changes."""
        self._live.update(_Drawn(draw), refresh=True)


@contextmanager
def live_screen() -> Iterator[LiveScreen]:
    """Take the terminal for a display that changes. Raises InvalidInput where there is none."""
    from rich.live import Live

    if not out().is_terminal or out().is_dumb_terminal:
        raise InvalidInput(
            "--watch needs a terminal", hint="leave it out, and repeat the command instead"
        )
    with Live(console=out(), screen=True, refresh_per_second=2) as live:
        yield LiveScreen(live)


class _Drawn:
    """What rich draws: it asks for the width each time."""

    def __init__(self, draw: Callable[[int], Sequence[LiveTable]]) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = options.height or options.size.height
        for shown in self._draw(options.max_width):
            if left < _LEAST:
                return
            title = styled((visible_text(shown.title), shown.title_style))
            title.truncate(options.max_width, overflow="ellipsis")
            yield title
            left -= 1
            if shown.columns:
                room = left - _FRAME
                if room < len(shown.rows):
                    cut = max(0, room - 1)
                    yield _live_table(replace(shown, rows=shown.rows[:cut]), options.max_width)
                    yield styled((f"... and {len(shown.rows) - cut} more rows", "dim"))
                    return
                yield _live_table(shown, options.max_width)
                left -= len(shown.rows) + _FRAME


def _live_table(shown: LiveTable, width: int) -> Table:
    from rich import box
    from rich.table import Table

    is_narrow = width_of_table(shown.columns, shown.rows) > width
    table = Table(
        box=None if is_narrow else box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0) if is_narrow else (0, 1),
        pad_edge=False,
        header_style="bold",
    )
    for column in shown.columns:
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">"), justify=justify, overflow="ellipsis", no_wrap=True)
    for row, style in zip(shown.rows, shown.last_styles, strict=False):
        *cells, last = (visible_text(cell) for cell in row)
        table.add_row(*map(styled, cells), styled((last, style)))
    return table
