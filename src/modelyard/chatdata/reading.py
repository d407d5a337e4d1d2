"""Read files of conversations, in every accepted format, into checked `Conversation`s.

Nothing is dropped silently: each row becomes a conversation or a Diagnostic with its file and line.
Knows file formats (JSON Lines, JSON, CSV, Parquet); `row_formats` knows what a row may look like.
"""

from __future__ import annotations

import codecs
import csv
import errno
import io
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.row_formats import (
    ACCEPTED_FORMATS,
    BadRow,
    ColumnMapping,
    build_conversation,
    is_text,
    missing_column,
)
from modelyard.core.errors import Diagnostic, InvalidInput, did_you_mean
from modelyard.core.wording import counted

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

Row = tuple[str, Any]
"""Where a row is (`rows.jsonl:12`), and its value."""


def read_conversations(
    path: Path, *, name: str | None = None, columns: ColumnMapping | None = None
) -> tuple[list[Conversation], list[Diagnostic]]:
    """Read one file: its good rows, and a Diagnostic for every bad one.

    `name` is the file's name in problems. `columns` makes conversations from a table's columns.
    Raises InvalidInput when the file cannot be read at all or its suffix is unknown.
    """
    shown = name or str(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"cannot read '{suffix or path.name}' files{did_you_mean(suffix, SUFFIXES)}",
            where=shown,
            hint=f"accepted are {', '.join(SUFFIXES)}",
        )
    if found := why_unreadable(path):
        raise InvalidInput(found, where=shown)
    problems: list[Diagnostic] = []
    if suffix == ".parquet":
        rows = _parquet_rows(path, shown, columns)
    else:
        data = _read_bytes(path, shown)
        if suffix in (".csv", ".tsv"):
            rows = _csv_rows(data, shown, columns, problems)
        elif suffix == ".json":
            rows = _json_rows(data, shown, problems)
        else:
            rows = _jsonl_rows(data, shown, problems)

    conversations: list[Conversation] = []
    for where, row in rows:
        try:
            conversations.append(build_conversation(row, where, columns))
        except BadRow as bad:
            problems += bad.problems(where)
    if not conversations and not problems:
        problems.append(
            Diagnostic(message="is empty", where=shown, hint=f"accepted rows: {ACCEPTED_FORMATS}")
        )
    return conversations, problems


def read_json_lines(path: Path, *, name: str, problems: list[Diagnostic]) -> Iterator[Row]:
    """Every value of a file of JSON Lines with its place; adds a Diagnostic for every bad line.

    Raises InvalidInput when the file cannot be read at all.
    """
    if found := why_unreadable(path):
        raise InvalidInput(found, where=name)
    yield from _jsonl_rows(_read_bytes(path, name), name, problems)


def why_unreadable(path: Path) -> str | None:
    """Why a path cannot be read as a file or a folder; None when it can."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            return f"is a link to {path.readlink()}, which does not exist"
        siblings = [sibling.name for sibling in path.parent.glob("*")]
        return f"there is no such file or folder{did_you_mean(path.name, siblings)}"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        return f"cannot read: {error.strerror}"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return f"is {kinds.get(stat.S_IFMT(mode), 'a device')}; save its rows in a file, and give that"


def _read_bytes(path: Path, shown: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=shown) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput("is UTF-16 text", where=shown, hint="save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _jsonl_rows(data: bytes, shown: str, problems: list[Diagnostic]) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        try:
            yield where, _parse_json(line)
        except BadRow as bad:
            problems += bad.problems(where)


def _json_rows(data: bytes, shown: str, problems: list[Diagnostic]) -> Iterator[Row]:
    if not data.strip():
        return
    try:
        value = _parse_json(data)
    except BadRow as bad:
        if "Extra data" in bad.messages[0]:  # JSON Lines in a .json file
            yield from _jsonl_rows(data, shown, problems)
        else:
            problems += bad.problems(shown)
        return
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, start=1):
        yield f"{shown}: row {number}", row


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse_json(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        column = len(data[: error.start].decode(errors="replace")) + 1
        raise BadRow(
            f"is not UTF-8 text (byte 0x{data[error.start]:02x} at column {column})"
        ) from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = (
            f"line {error.lineno}, column {error.colno}"
            if error.lineno > 1
            else f"column {error.colno}"
        )
        what = error.msg.removesuffix(" at")  # some messages end in "at"
        raise BadRow(f"is not JSON: {what} at {place}") from None
    except RecursionError:
        raise BadRow("is not usable JSON: it is nested too deeply") from None
    except ValueError as error:  # NaN, and numbers of thousands of digits
        raise BadRow(f"is not usable JSON: {error}") from None
    if "\\u" in text and not is_text(json.dumps(value, ensure_ascii=False)):
        raise BadRow("holds half of a surrogate pair (such as \\ud83d alone), which is not text")
    return value


def _csv_rows(
    data: bytes, shown: str, columns: ColumnMapping | None, problems: list[Diagnostic]
) -> Iterator[Row]:
    # Bytes that are not UTF-8 become lone surrogates, so that they are reported by their row.
    text = data.decode(errors="surrogateescape")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)  # the one that the header uses
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{shown}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problems.append(Diagnostic(message=f"is not CSV: {error}", where=where))
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not all(map(is_text, cells)):
            problems.append(
                Diagnostic(message="is not UTF-8 text", where=where, hint="save the file as UTF-8")
            )
        elif header is None:
            header = [cell.strip() for cell in cells]
            if wrong := _wrong_header(header, columns):
                problems.append(Diagnostic(message=wrong, where=where))
                return
        elif len(cells) != len(header):
            problems.append(
                Diagnostic(
                    message=f"has {counted(len(cells), 'column')} where the header has "
                    f"{len(header)}",
                    where=where,
                )
            )
        else:
            yield where, dict(zip(header, cells, strict=True))


def _wrong_header(header: list[str], columns: ColumnMapping | None) -> str | None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return f"the header names a column twice: {', '.join(twice)}"
    return missing_column(columns.columns if columns else (), header)


def _parquet_rows(path: Path, shown: str, columns: ColumnMapping | None) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if wrong := _wrong_header(file.schema_arrow.names, columns):
                raise InvalidInput(wrong, where=shown)
            table = file.read()
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInput(f"cannot read: {error}", where=shown) from error
    number = 0
    for batch in table.to_batches(max_chunksize=10_000):
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            raise InvalidInput(
                f"holds a value that cannot be read: {error}", where=shown
            ) from error
        for row in rows:
            number += 1
            yield f"{shown}: row {number}", row
