"""What a person or a program sees: the only module that imports rich, and the only one that prints.

Results go to stdout; progress, warnings and errors to stderr. On a terminal there are tables,
colours and a live bar; in cron and CI logs plain text, one line per stage.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Literal, TextIO

from modelyard.cli.table_layout import TableLayout, fold_words, lay_out
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, group_equal
from modelyard.core.progress import Progress
from modelyard.core.wording import visible_line, visible_text
from modelyard.results.json_form import to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from modelyard.configs.checking.excerpt import Excerpt
    from modelyard.records.evaluation import Evaluation

_C1_CONTROL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHOWN_PROBLEMS = 40
_LOG_EVERY_S = 10.0
_TABLE_GAP = 3
"""Columns of a terminal between two columns of a table."""
_LIVE_FRAME = 4
"""Lines of a live table that are not its rows."""
_LEAST_LIVE = 1 + _LIVE_FRAME + 2
"""Lines that one takes at least, its heading included."""
_INDENT, _BETWEEN = "  ", " · "
"""Before and between the facts of a row that is too long for a table."""
_LINE_NUMBER = 5
_WIDE = 10_000
"""The width where lines have no end: a file, or a pipe."""


@cache
def out() -> Console:
    """The console of results (stdout)."""
    from rich.console import Console

    _stdout()
    endless = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(
        highlight=False, soft_wrap=not sys.stdout.isatty(), width=_WIDE if endless else None
    )


@cache
def err() -> Console:
    """The console of progress, warnings and errors (stderr)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


class OutputFailed(ModelyardError):
    """A result could not be written to stdout."""


@contextmanager
def writing_results() -> Iterator[None]:
    """Turn failed writes to stdout into OutputFailed; a closed pipe is not an error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(
            f"cannot write the result: {error.strerror}",
            where="stdout",
            hint="free some space, or redirect it elsewhere",
        ) from error


def is_unicode() -> bool:
    """Whether stdout can hold every character."""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def _stdout() -> TextIO:
    """Stdout; characters that its encoding lacks are escaped, such as `\\xe9`."""
    if isinstance(sys.stdout, TextIOWrapper) and not is_unicode():
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def flush_results() -> None:
    """Flush stdout while a failure can still be reported."""
    with writing_results():
        sys.stdout.flush()


def print_json(
    result: DataclassInstance | Sequence[DataclassInstance], *, indent: int | None = 2
) -> None:
    """A result as one JSON document on stdout; without an indent on one line."""
    print_document(to_json(result), indent=indent)


def print_document(document: Any, *, indent: int | None = 2) -> None:
    """A JSON document on stdout that is no result of ours: a schema, or another program's form."""
    import json

    text = json.dumps(document, indent=indent, ensure_ascii=not is_unicode())
    with writing_results():
        # json.dumps leaves these as they are: terminals obey some, and lone surrogates fail.
        sys.stdout.write(_C1_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def _print(*objects: Any, **options: Any) -> None:
    with writing_results():
        out().print(*objects, **options)


def _styled(*parts: str | tuple[str, str]) -> Text:
    """Text for rich, taken literally: plain parts, and parts with their style."""
    from rich.text import Text

    return Text.assemble(*parts)


def print_text(text: str = "") -> None:
    """One line of result, taken literally."""
    _print(_styled(visible_text(text)))


def print_lines(lines: Iterable[str]) -> None:
    """Lines of result as they are, without loading rich."""
    with writing_results():
        stdout = _stdout()
        for line in lines:
            stdout.write(_writable(f"{line}\n"))


def bold_marks() -> tuple[str, str] | None:
    """The codes for bold and plain text on this terminal; None when stdout is not a terminal."""
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return None if plain else ("\x1b[1m", "\x1b[0m")


def print_note(text: str) -> None:
    """A line about the result, on stderr, without loading rich."""
    sys.stderr.write(_writable(f"{visible_text(text)}\n"))


def _writable(text: str) -> str:
    """The text with lone surrogates escaped: they come from file names that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def print_finding(finding: Diagnostic, shown: Excerpt | None) -> None:
    """What a check found, with the line that it is about and a mark below its place."""
    from modelyard.configs.checking.report import message_of

    colour = "yellow" if finding.level == "warning" else "bold red"
    where = f"{visible_line(finding.where or '')}:"
    _print(_styled((where, "bold"), " ", (message_of(finding), colour)), soft_wrap=True)
    if shown is not None:
        bar = "│" if is_unicode() else "|"
        number = f"{finding.place[1]:{_LINE_NUMBER}} {bar} "
        _print(_styled((number, "dim"), _writable(shown.text)), soft_wrap=True)
        mark = " " * shown.indent + "^" * shown.width
        _print(_styled((f"{' ' * _LINE_NUMBER} {bar} ", "dim"), (mark, colour)), soft_wrap=True)
    if finding.hint:
        _print(_styled((f"{' ' * _LINE_NUMBER}   {visible_line(finding.hint)}", "cyan")))
    _print()


def excerpt_width() -> int:
    """How many characters of a file's line fit beside its number."""
    return max(20, out().width - _LINE_NUMBER - len(" │ ...") - len("..."))


def print_title(text: str) -> None:
    """A heading above a block of results."""
    _print(_styled((visible_text(text), "bold")))


def print_pairs(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Names and values in two aligned columns."""
    rows = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        shown = visible_text(str(value))
        _print(_styled((name.ljust(width), "cyan"), "  ", shown), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; a column whose name starts with `>` is right-aligned.

    Nothing is cut. In a table that is too wide, columns without a cell are left out and others are
    folded; when that is not enough, each row is a title with its facts below it.
    """
    cells = [[visible_text(str(cell)) for cell in row] for row in rows]
    names = [column.lstrip(">") for column in columns]
    width = out().width
    if width_of_table(columns, cells) > width:
        kept = [0, *(place for place in range(1, len(names)) if any(row[place] for row in cells))]
        columns, names = ([each[place] for place in kept] for each in (columns, names))
        cells = [[row[place] for place in kept] for row in cells]
    layout = lay_out(names, cells, width)
    if layout is not None:
        _print(_table(columns, layout))
        return
    for row in cells:
        print_title(row[0])
        _print_facts([(name, cell) for name, cell in zip(names[1:], row[1:], strict=True) if cell])


def width_of_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The characters that a line of a table takes when nothing in it is folded."""
    names = [column.lstrip(">") for column in columns]
    widths = [max(map(len, cells)) for cells in zip(names, *rows, strict=True)]
    return sum(widths) + _TABLE_GAP * len(widths) - 1


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
            if left < _LEAST_LIVE:
                return
            title = _styled((visible_text(shown.title), shown.title_style))
            title.truncate(options.max_width, overflow="ellipsis")
            yield title
            left -= 1
            if shown.columns:
                room = left - _LIVE_FRAME
                if room < len(shown.rows):
                    cut = max(0, room - 1)
                    yield _live_table(replace(shown, rows=shown.rows[:cut]), options.max_width)
                    yield _styled((f"... and {len(shown.rows) - cut} more rows", "dim"))
                    return
                yield _live_table(shown, options.max_width)
                left -= len(shown.rows) + _LIVE_FRAME


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
        table.add_row(*map(_styled, cells), _styled((last, style)))
    return table


def _table(columns: Sequence[str], layout: TableLayout) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="bold",
        padding=(0, 1) if layout.gap > 2 else (0, 1, 0, 0),
    )
    for column, name in zip(columns, layout.columns, strict=True):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(_styled(name), justify=justify, overflow="fold", no_wrap=True)
    for row in layout.rows:
        table.add_row(*map(_styled, row))
    return table


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names with their values, as many on a line as fit."""
    width = out().width - len(_INDENT)
    lines: list[list[str | tuple[str, str]]] = []
    used = 0
    for name, value in facts:
        label = f"{name}: " if name else ""
        length = len(label) + len(value)
        if lines and used + len(_BETWEEN) + length <= width:
            lines[-1].append(_BETWEEN)
            used += len(_BETWEEN)
        else:
            lines.append([])
            used = 0
        first, *more = fold_words(value, width - len(label), width - len(_INDENT))
        lines[-1] += [(label, "cyan"), first]
        lines += [[_INDENT, part] for part in more]
        used = width if more else used + length
    for line in lines:
        _print(_styled(_INDENT, *line), soft_wrap=True)


def print_evaluation(evaluation: Evaluation) -> None:
    """The figures of an evaluation, base beside adapter."""
    print_table(
        ("", ">base", ">adapter", "95% interval"),
        [(row.name, row.base, row.adapter, row.interval) for row in evaluation.all_rows()],
    )
    print_text(evaluation.summary)


def print_sample(source: str, pieces: Iterable[tuple[str, bool]]) -> None:
    """One row as the model sees it; trained tokens are green, and between ‹ › without colours."""
    opening, closing = ("", "") if out().is_terminal and not out().no_color else ("‹", "›")
    _print(_styled((visible_text(source), "cyan")))
    _print(
        _styled(
            *(
                (f"{opening}{visible_text(piece)}{closing}", "green")
                if is_trained
                else (visible_text(piece), "dim")
                for piece, is_trained in pieces
            )
        )
    )
    _print()


class StreamPrinter:
    """Text as it arrives, on stdout; `silent` only keeps it."""

    def __init__(self, *, silent: bool = False) -> None:
        self.shown = ""
        """The text so far."""
        self._silent = silent

    def show(self, piece: str) -> None:
        """Print a piece at once."""
        self.shown += piece
        if not self._silent:
            with writing_results():
                sys.stdout.write(visible_text(piece))
                sys.stdout.flush()

    def end(self) -> None:
        """End the line."""
        if not self._silent:
            with writing_results():
                sys.stdout.write("\n")


def print_stream(pieces: Iterable[str]) -> None:
    """Text as it arrives, then a newline."""
    printer = StreamPrinter()
    for piece in pieces:
        printer.show(piece)
    printer.end()


def read_stdin(most_characters: int, refusal: str = "is not UTF-8 text") -> str:
    """The text on stdin, or its beginning. Raises InvalidInput, saying `refusal`, for no text."""
    try:
        text = sys.stdin.read(most_characters)
        text.encode()  # in the C locale, bytes that are no text are read as lone surrogates
    except UnicodeError as error:
        raise InvalidInput(refusal, where="stdin") from error
    return text


def reads_terminal() -> bool:
    """Whether somebody types what this program reads."""
    return sys.stdin.isatty()


def read_line(marker: str, most_characters: int) -> str | None:
    """The next line of stdin without its end, None when there is none; typed lines can be edited.

    The marker is shown where somebody types. Raises InvalidInput when the line is longer, or is
    not UTF-8 text.
    """
    try:
        if reads_terminal() and sys.stdout.isatty():
            import readline  # noqa: F401 (gives input() the keys of a shell, and its history)

            line = input(marker)
        else:
            if reads_terminal():
                sys.stderr.write(marker)
                sys.stderr.flush()
            line = sys.stdin.readline(most_characters + 2)
            if not line:
                return None
        line.encode()
    except EOFError:
        sys.stderr.write("\n")
        return None
    except UnicodeError as error:
        raise InvalidInput("the line is not UTF-8 text", where="stdin") from error
    line = line.removesuffix("\n").removesuffix("\r")
    if len(line) > most_characters:
        raise InvalidInput(f"the line is longer than {most_characters:,} characters", where="stdin")
    return line


def read_piped() -> bytes:
    """All bytes on stdin. Raises InvalidInput when it is a terminal, where nothing is piped."""
    if sys.stdin.isatty():
        raise InvalidInput("is a terminal; pipe rows into the command", where="stdin")
    return sys.stdin.buffer.read()


def ask_yes(question: str) -> bool:
    """Ask on stderr and read the answer from stdin; only `y` or `yes` confirms."""
    sys.stderr.write(f"{visible_text(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_warning(text: str) -> None:
    """A warning on stderr."""
    err().print(_styled(("warning:", "yellow"), " ", _message(text)))


def print_error(error: ModelyardError) -> None:
    """An error on stderr: what happened, where, what to do next."""
    err().print(_styled(("error:", "bold red"), " ", _message(str(error))))
    problems = group_equal(error.problems)
    for problem in problems[:_SHOWN_PROBLEMS]:
        err().print(_styled(f"  {_message(str(problem))}"))
        if problem.hint:
            err().print(_styled((f"    {_message(problem.hint)}", "dim")))
    if len(problems) > _SHOWN_PROBLEMS:
        err().print(f"  ... and {len(problems) - _SHOWN_PROBLEMS:,} more")
    if error.hint:
        err().print(_styled((f"  hint: {_message(error.hint)}", "dim")))


def _message(text: str) -> str:
    """A message as it is shown: it may repeat a token that was given where a name belongs."""
    from modelyard.secrets.detection import mask_tokens

    return visible_text(mask_tokens(text))


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """A Progress for a long job: a live bar on a terminal, one line per stage elsewhere."""
    progress = TerminalProgress() if err().is_terminal else LogProgress()
    try:
        yield progress
    finally:
        progress.end()


class LogProgress(Progress):
    """One line per stage, and one every few seconds of a long piece of work."""

    _label, _total, _unit, _last_line = "", 0.0, "", ""
    _began_at = _last_line_at = 0.0

    def stage(self, text: str) -> None:
        err().print(_styled(visible_text(text)))

    def warn(self, text: str) -> None:
        print_warning(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        self._label, self._total, self._unit, self._last_line = label, total, unit, ""
        self._began_at = self._last_line_at = time.monotonic()

    def advance(self, done: float, figures: str = "") -> None:
        now = time.monotonic()
        if done >= self._total or now - self._last_line_at >= _LOG_EVERY_S:
            self._last_line_at = now
            amount = _amount(done, self._total, self._unit)
            if self._unit == "bytes" and 0 < done < self._total:
                left_s = (now - self._began_at) * (self._total / done - 1)
                amount += f", {left_s:,.0f} s left"
            tail = f" · {figures}" if figures else ""
            line = f"  {self._label} {amount}{tail}"
            if line != self._last_line:
                self._last_line = line
                err().print(_styled(line))


class TerminalProgress(LogProgress):
    """A live bar with figures and the time left."""

    _bar: Any = None
    _task: Any = None

    def stage(self, text: str) -> None:
        err().print(_styled(("▸ ", "cyan"), visible_text(text)))

    def begin(self, label: str, total: float, unit: str) -> None:
        from rich import progress

        super().begin(label, total, unit)
        self.end()
        self._bar = progress.Progress(
            progress.TextColumn("  {task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[amount]}"),
            progress.TextColumn("{task.fields[figures]}", style="dim"),
            progress.TimeRemainingColumn(compact=True),
            console=err(),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total, amount="", figures="")
        self._bar.start()

    def advance(self, done: float, figures: str = "") -> None:
        if self._bar is not None:
            amount = _amount(done, self._total, self._unit)
            self._bar.update(self._task, completed=done, amount=amount, figures=figures)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _amount(done: float, total: float, unit: str) -> str:
    if unit == "bytes":
        size, name, places = (1e6, "MB", int(total < 10e6)) if total >= 1e6 else (1e3, "kB", 0)
        return f"{done / size:,.{places}f}/{total / size:,.{places}f} {name}"
    return f"{done:,.0f}/{total:,.0f} {unit}"
