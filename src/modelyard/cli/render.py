"""What a person or a program sees: the only module that imports rich, and the only one that prints.

Results go to stdout; progress, warnings and errors to stderr. On a terminal there are tables,
colours and a live bar; in cron and CI logs plain text, one line per stage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_SHOWN_PROBLEMS = 40
_LOG_EVERY_S = 10.0


@cache
def out() -> Console:
    """The console of results (stdout)."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@cache
def err() -> Console:
    """The console of progress, warnings and errors (stderr)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_text(text: str = "") -> None:
    """One line of result, taken literally."""
    out().print(text, markup=False)


def print_rich(renderable: RenderableType) -> None:
    """Something rich knows how to draw, on stdout."""
    out().print(renderable)


def print_title(text: str) -> None:
    """A heading above a block of results."""
    from rich.text import Text

    out().print(Text(text, style="bold"))


def print_pairs(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Names and values in two aligned columns."""
    from rich.text import Text

    rows = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        out().print(Text.assemble((name.ljust(width), "cyan"), "  ", str(value)), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; a column whose name starts with `>` is right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out().print(table)


def print_sample(source: str, pieces: Iterable[tuple[str, bool]]) -> None:
    """One row as the model sees it; what is learned is green, and between ‹ › without colours."""
    from rich.text import Text

    coloured = out().is_terminal and not out().no_color
    text = Text()
    for piece, learned in pieces:
        if learned and not coloured:
            text.append(f"‹{piece}›")
        else:
            text.append(piece, style="green" if learned else "dim")
    out().print(Text(source, style="cyan"))
    out().print(text)
    out().print()


def print_stream(pieces: Iterable[str]) -> None:
    """Text as it comes, then a line's end."""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def print_warning(text: str) -> None:
    """A warning on stderr."""
    err().print("[yellow]warning:[/] ", end="")
    err().print(text, markup=False)


def print_error(error: ModelyardError) -> None:
    """An error on stderr: what happened, where, what to do next."""
    err().print("[bold red]error:[/] ", end="")
    err().print(str(error), markup=False)
    for problem in error.problems[:_SHOWN_PROBLEMS]:
        err().print(f"  {problem}", markup=False)
        if problem.hint:
            err().print(f"    {problem.hint}", style="dim", markup=False)
    if len(error.problems) > _SHOWN_PROBLEMS:
        err().print(f"  ... and {len(error.problems) - _SHOWN_PROBLEMS:,} more")
    if error.hint:
        err().print(f"  hint: {error.hint}", style="dim", markup=False)


@contextmanager
def showing_progress() -> Iterator[TerminalProgress | LogProgress]:
    """A Progress for a long job: a live bar on a terminal, one line per stage elsewhere."""
    progress = TerminalProgress() if err().is_terminal else LogProgress()
    try:
        yield progress
    finally:
        progress.end()


class LogProgress:
    """One line per stage, and one every few seconds of a long piece of work."""

    def __init__(self) -> None:
        self._label, self._total, self._unit = "", 0.0, ""
        self._last_line_at = 0.0

    def stage(self, text: str) -> None:
        err().print(text, markup=False)

    def warn(self, text: str) -> None:
        print_warning(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._last_line_at = time.monotonic()

    def advance(self, done: float, figures: str = "") -> None:
        finished = done >= self._total
        if finished or time.monotonic() - self._last_line_at >= _LOG_EVERY_S:
            self._last_line_at = time.monotonic()
            amount = f"{_count(done, self._unit)}/{_count(self._total, self._unit)}"
            tail = f" · {figures}" if figures else ""
            err().print(f"  {self._label} {amount} {_unit(self._unit)}{tail}", markup=False)

    def end(self) -> None:
        pass


class TerminalProgress:
    """A live bar with figures and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def stage(self, text: str) -> None:
        from rich.text import Text

        err().print(Text.assemble(("▸ ", "cyan"), text))

    def warn(self, text: str) -> None:
        print_warning(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.end()
        self._unit = unit
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=err(),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total, amount="", figures="")
        self._bar.start()

    def advance(self, done: float, figures: str = "") -> None:
        if self._bar is None:
            return
        total = self._bar.tasks[self._task].total
        amount = f"{_count(done, self._unit)}/{_count(total, self._unit)} {_unit(self._unit)}"
        self._bar.update(self._task, completed=done, amount=amount, figures=figures)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _count(amount: float, unit: str) -> str:
    return f"{amount / 1e6:,.0f}" if unit == "bytes" else f"{amount:,.0f}"


def _unit(unit: str) -> str:
    return "MB" if unit == "bytes" else unit
