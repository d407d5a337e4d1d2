"""Read files of conversations, in every accepted format, into checked `Conversation`s.

Nothing is dropped silently: each row becomes a conversation or a Diagnostic with its file and line.
Knows file formats (JSON Lines, JSON, CSV, Parquet; packed with gzip or zstd; stdin); `row_formats`
knows what a row may look like.
"""

from __future__ import annotations

import codecs
import csv
import errno
import io
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from modelyard.chatdata.columns import BadRow, ColumnMapping, missing_column
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.json_values import (
    NotJson,
    is_text,
    parse_json,
    without_nulls,
)
from modelyard.chatdata.row_formats import ACCEPTED_FORMATS, build_conversation
from modelyard.core.errors import Diagnostic, InvalidInput, did_you_mean
from modelyard.core.wording import counted

_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_PACKINGS = (".gz", ".zst")
SUFFIXES = (*_FORMATS, *(f"{name}{packing}" for packing in _PACKINGS for name in _FORMATS[:-1]))
"""What the name of a file of rows ends in."""
ACCEPTED_FILES = f"{', '.join(_FORMATS)}; all but the last also with {' or '.join(_PACKINGS)}"

OF_THE_FILE = "unreadable-file"
"""The code of a problem with a whole file: no row of it can be left out to be rid of it."""

Row = tuple[str, Any]
"""Where a row is (`rows.jsonl:12`), and its value."""


def read_conversations(
    path: Path,
    *,
    name: str | None = None,
    columns: ColumnMapping | None = None,
    text_column: str | None = None,
) -> tuple[list[Conversation], list[Diagnostic]]:
    """Read one file: its good rows, and a Diagnostic for every problem of a bad one.

    `name` is the file's name in problems. `columns` makes conversations from a table's columns,
    `text_column` plain texts from one. Problems of the whole file have the code `OF_THE_FILE`.
    Raises InvalidInput when the file cannot be read at all or its suffix is unknown.
    """
    shown = name or str(path)
    suffix, packing = _suffixes(path.name)
    if not is_data_file(path.name):
        given = (suffix + packing) or path.name
        raise InvalidInput(
            f"cannot read '{given}' files{did_you_mean(given, SUFFIXES)}",
            where=shown,
            hint=f"accepted are {ACCEPTED_FILES}",
        )
    if found := why_unreadable(path):
        raise InvalidInput(found, where=shown)
    problems: list[Diagnostic] = []
    wanted = _first_columns(columns, text_column)
    if suffix == ".parquet":
        rows = _parquet_rows(path, shown, wanted)
    else:
        data = _unpack(_read_bytes(path, shown), packing, shown)
        rows = _rows_of_text(data, suffix, shown, wanted, problems)
    return _build_all(rows, shown, columns, text_column, problems), problems


def read_stream(
    data: bytes,
    *,
    name: str,
    columns: ColumnMapping | None = None,
    text_column: str | None = None,
) -> tuple[list[Conversation], list[Diagnostic]]:
    """The same of what came through a pipe: JSON Lines, JSON, or else CSV; also packed.

    Raises InvalidInput when it cannot be read at all.
    """
    packing = next((key for key, magic in _MAGIC.items() if data.startswith(magic)), "")
    if data.startswith(_PARQUET):
        raise InvalidInput("is a Parquet file", where=name, hint="save it, and name the file")
    problems: list[Diagnostic] = []
    text = _plain_bytes(_unpack(data, packing, name), name)
    suffix = ".json" if text.lstrip()[:1] in (b"{", b"[", b"") else ".csv"
    rows = _rows_of_text(text, suffix, name, _first_columns(columns, text_column), problems)
    return _build_all(rows, name, columns, text_column, problems), problems


def is_data_file(name: str) -> bool:
    """Whether a file of this name holds rows in an accepted format."""
    return "".join(_suffixes(name)) in SUFFIXES


def _suffixes(name: str) -> tuple[str, str]:
    """What a file's name says about its format and its packing: `.jsonl` and `.gz`."""
    path = Path(name.lower())
    packing = path.suffix if path.suffix in _PACKINGS else ""
    return Path(path.stem).suffix if packing else path.suffix, packing


def count_bad_rows(problems: Iterable[Diagnostic]) -> int:
    """How many rows these problems are about; a row may have several."""
    return len({problem.where for problem in problems if problem.code != OF_THE_FILE})


def _first_columns(columns: ColumnMapping | None, text_column: str | None) -> tuple[str, ...]:
    """The columns that a table must have."""
    if text_column is not None:
        return (text_column,)
    return columns.columns if columns else ()


def _rows_of_text(
    data: bytes, suffix: str, shown: str, wanted: tuple[str, ...], problems: list[Diagnostic]
) -> Iterator[Row]:
    data = _plain_bytes(data, shown)
    if suffix in (".csv", ".tsv"):
        return _csv_rows(data, shown, wanted, problems)
    return (_json_rows if suffix == ".json" else _jsonl_rows)(data, shown, problems)


def _build_all(
    rows: Iterable[Row],
    shown: str,
    columns: ColumnMapping | None,
    text_column: str | None,
    problems: list[Diagnostic],
) -> list[Conversation]:
    """The good rows; adds a Diagnostic for every problem of a bad one."""
    conversations: list[Conversation] = []
    for where, row in rows:
        try:
            conversations.append(build_conversation(row, where, columns, text_column))
        except BadRow as bad:
            problems += bad.problems(where)
    if not conversations and not problems:
        problems.append(
            Diagnostic(
                message="is empty",
                where=shown,
                hint=f"accepted rows: {ACCEPTED_FORMATS}",
                code=OF_THE_FILE,
            )
        )
    return conversations


def read_json_lines(
    path: Path, *, name: str, problems: list[Diagnostic], piped: bytes | None = None
) -> Iterator[Row]:
    """Every value of a file of JSON Lines with its place; adds a Diagnostic for every bad line.

    piped: read this instead of the file.
    Raises InvalidInput when the file cannot be read at all.
    """
    if piped is None and (found := why_unreadable(path)):
        raise InvalidInput(found, where=name)
    data = _read_bytes(path, name) if piped is None else piped
    yield from _jsonl_rows(_plain_bytes(data, name), name, problems)


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
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=shown) from error


_PARQUET = b"PAR1"
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


def _unpack(data: bytes, packing: str, shown: str) -> bytes:
    """The bytes that gzip or zstd packed."""
    if not packing:
        return data
    import pyarrow

    try:
        with pyarrow.CompressedInputStream(
            pyarrow.BufferReader(data), {".gz": "gzip", ".zst": "zstd"}[packing]
        ) as stream:
            return bytes(stream.read())
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInput(f"cannot be unpacked: {error}", where=shown) from error


def _plain_bytes(data: bytes, shown: str) -> bytes:
    """The bytes of a UTF-8 text without its byte order mark."""
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
        except NotJson as error:
            problems.append(Diagnostic(message=str(error), where=where))


def _json_rows(data: bytes, shown: str, problems: list[Diagnostic]) -> Iterator[Row]:
    if not data.strip():
        return
    try:
        value = _parse_json(data, whole_file=True)
    except NotJson as error:
        if "Extra data" in str(error):  # JSON Lines in a .json file
            yield from _jsonl_rows(data, shown, problems)
        else:
            problems.append(Diagnostic(message=str(error), where=shown, code=OF_THE_FILE))
        return
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, start=1):
        yield f"{shown}: row {number}", row


def _parse_json(data: bytes, *, whole_file: bool = False) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        column = len(data[: error.start].decode(errors="replace")) + 1
        raise NotJson(
            f"is not UTF-8 text (byte 0x{data[error.start]:02x} at column {column})"
        ) from None
    return parse_json(text, whole_file=whole_file)


def _csv_rows(
    data: bytes, shown: str, wanted: tuple[str, ...], problems: list[Diagnostic]
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
            if wrong := _wrong_header(header, wanted):
                problems.append(Diagnostic(message=wrong, where=where, code=OF_THE_FILE))
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


def _wrong_header(header: list[str], wanted: tuple[str, ...]) -> str | None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return f"the header names a column twice: {', '.join(twice)}"
    return missing_column(wanted, header)


def _parquet_rows(path: Path, shown: str, wanted: tuple[str, ...]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if wrong := _wrong_header(file.schema_arrow.names, wanted):
                raise InvalidInput(wrong, where=shown)
            table = file.read()
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # also a name of a column
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
            yield f"{shown}: row {number}", {key: without_nulls(row[key]) for key in row}
