"""What a person or a program sees of a result, a warning or an error.

Results go to stdout; warnings and errors to stderr. On a terminal there are tables and colours, in
cron and CI logs plain text. Only this module, `job_progress.py` and `live_screen.py` import rich.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Literal, TextIO

from modelyard.cli.table_layout import TableLayout, fold_words, lay_out
from modelyard.core.errors import Diagnostic, ModelyardError, group_equal
from modelyard.core.seen_from import error_for_reader
from modelyard.core.wording import visible_line, visible_text
from modelyard.results.json_form import to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from modelyard.configs.checking.excerpt import Excerpt
    from modelyard.records.evaluation import Evaluation

_C1_CONTROL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHOWN_PROBLEMS = 40
_TABLE_GAP = 3
"""Columns of a terminal between two columns of a table."""
_INDENT, _BETWEEN = "  ", " · "
"""Before and between the facts of a row that is too long for a table."""
_LINE_NUMBER = 5
_WIDE = 10_000
"""The width where lines have no end: a file, or a pipe."""


@cache
def out() -> Console:
    """The console of results (stdout)."""
    from rich.console import Console

    class ResultsConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError, to `writing_results`

    _stdout()
    endless = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return ResultsConsole(
        highlight=False, soft_wrap=not sys.stdout.isatty(), width=_WIDE if endless else None
    )


@cache
def err() -> Console:
    """The console of progress, warnings and errors (stderr)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


class OutputClosed(Exception):
    """Who read the results has gone, as `| head` does: nobody needs the rest of them."""


class OutputFailed(ModelyardError):
    """A result could not be written to stdout."""


@contextmanager
def writing_results() -> Iterator[None]:
    """Turn failed writes to stdout into OutputFailed, to a closed pipe into OutputClosed."""
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error
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


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text for rich, taken literally: plain parts, and parts with their style."""
    from rich.text import Text

    return Text.assemble(*parts)


def print_text(text: str = "") -> None:
    """One line of result, taken literally."""
    _print(styled(visible_text(text)))


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
    _print(styled((where, "bold"), " ", (message_of(finding), colour)), soft_wrap=True)
    if shown is not None:
        bar = "│" if is_unicode() else "|"
        number = f"{finding.place[1]:{_LINE_NUMBER}} {bar} "
        _print(styled((number, "dim"), _writable(shown.text)), soft_wrap=True)
        mark = " " * shown.indent + "^" * shown.width
        _print(styled((f"{' ' * _LINE_NUMBER} {bar} ", "dim"), (mark, colour)), soft_wrap=True)
    if finding.hint:
        _print(styled((f"{' ' * _LINE_NUMBER}   {visible_line(finding.hint)}", "cyan")))
    _print()


def excerpt_width() -> int:
    """How many characters of a file's line fit beside its number."""
    return max(20, out().width - _LINE_NUMBER - len(" │ ...") - len("..."))


def print_title(text: str) -> None:
    """A heading above a block of results."""
    _print(styled((visible_text(text), "bold")))


def print_pairs(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Names and values in two aligned columns."""
    rows = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        shown = visible_text(str(value))
        _print(styled((name.ljust(width), "cyan"), "  ", shown), soft_wrap=True)


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
        table.add_column(styled(name), justify=justify, overflow="fold", no_wrap=True)
    for row in layout.rows:
        table.add_row(*map(styled, row))
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
        _print(styled(_INDENT, *line), soft_wrap=True)


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
    _print(styled((visible_text(source), "cyan")))
    _print(
        styled(
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


def print_warning(text: str) -> None:
    """A warning on stderr."""
    err().print(styled(("warning:", "yellow"), " ", _message(text)))


def print_error(error: ModelyardError) -> None:
    """An error on stderr: what happened, where, what to do next."""
    error = error_for_reader(error)
    err().print(styled(("error:", "bold red"), " ", _message(str(error))))
    problems = group_equal(error.problems)
    for problem in problems[:_SHOWN_PROBLEMS]:
        err().print(styled(f"  {_message(str(problem))}"))
        if problem.hint:
            err().print(styled((f"    {_message(problem.hint)}", "dim")))
    if len(problems) > _SHOWN_PROBLEMS:
        err().print(f"  ... and {len(problems) - _SHOWN_PROBLEMS:,} more")
    if error.hint:
        err().print(styled((f"  hint: {_message(error.hint)}", "dim")))


def _message(text: str) -> str:
    """A message as it is shown: it may repeat a token that was given where a name belongs."""
    from modelyard.secrets.detection import mask_tokens

    return visible_text(mask_tokens(text))
