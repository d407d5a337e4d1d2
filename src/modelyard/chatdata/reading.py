"""Files of conversations, in every accepted format, into checked `Conversation`s.

Nothing is dropped silently: each row becomes a conversation or a Problem with its file and line.
Knows file formats and row formats; does not know datasets, tokens or splits.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from modelyard.chatdata.columns import ColumnMapping, MissingColumn, require_columns
from modelyard.chatdata.conversation import Conversation, Format, Message
from modelyard.core.errors import InvalidInput, Problem, did_you_mean

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
ACCEPTED_FORMATS = (
    "messages; prompt and completion; instruction, input and output (Alpaca); "
    "conversations (ShareGPT)"
)
ROLES = ("system", "user", "assistant")

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "assistant": "assistant",
}
_TOOL_ROLES = ("tool", "function", "function_call", "tool_call", "tool_response", "observation")

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}

Row = tuple[str, Any]
"""Where a row stands, and its value."""


class _BadRow(Exception):
    """A row that cannot be used, with everything that is wrong with it."""

    def __init__(self, *messages: str, hint: str | None = None) -> None:
        super().__init__(*messages)
        self.messages = messages
        self.hint = hint


def read_conversations(
    path: Path, *, name: str | None = None, columns: ColumnMapping | None = None
) -> tuple[list[Conversation], list[Problem]]:
    """Read one file: its good rows, and a Problem for every bad one.

    `name` is how problems call the file. `columns` makes conversations from a table's columns.
    Raises InvalidInput when the file cannot be read at all or its suffix is unknown.
    """
    shown = name or str(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = did_you_mean(suffix, SUFFIXES)
        raise InvalidInput(
            f"cannot read '{suffix or path.name}' files{near}",
            where=shown,
            hint=f"accepted are {', '.join(SUFFIXES)}",
        )
    problems: list[Problem] = []
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
            conversations.append(_conversation(row, where, columns))
        except _BadRow as bad:
            problems += [Problem(message=text, where=where, hint=bad.hint) for text in bad.messages]
    if not conversations and not problems:
        problems.append(
            Problem(message="is empty", where=shown, hint=f"accepted rows: {ACCEPTED_FORMATS}")
        )
    return conversations, problems


# Files into rows.


def _read_bytes(path: Path, shown: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=shown) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput("is UTF-16 text", where=shown, hint="save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _jsonl_rows(data: bytes, shown: str, problems: list[Problem]) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        try:
            yield where, _parse_json(line)
        except _BadRow as bad:
            problems += [Problem(message=text, where=where) for text in bad.messages]


def _json_rows(data: bytes, shown: str, problems: list[Problem]) -> Iterator[Row]:
    if not data.strip():
        return
    try:
        value = _parse_json(data)
    except _BadRow as bad:
        if "Extra data" in bad.messages[0]:  # JSON Lines under the name of JSON
            yield from _jsonl_rows(data, shown, problems)
        else:
            problems.append(Problem(message=bad.messages[0], where=shown))
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
        raise _BadRow(
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
        raise _BadRow(f"is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise _BadRow("is not usable JSON: it is nested too deeply") from None
    except ValueError as error:  # NaN, and numbers of thousands of digits
        raise _BadRow(f"is not usable JSON: {error}") from None
    if "\\u" in text and not _is_text(json.dumps(value, ensure_ascii=False)):
        raise _BadRow("holds half of a surrogate pair (such as \\ud83d alone), which is not text")
    return value


def _csv_rows(
    data: bytes, shown: str, columns: ColumnMapping | None, problems: list[Problem]
) -> Iterator[Row]:
    # Bytes that are not UTF-8 become lone surrogates here, and are found in the row they stand in.
    text = data.decode(errors="surrogateescape")
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problems.append(Problem(message=f"is not CSV: {error}", where=f"{shown}:{line}"))
            line = reader.line_num + 1
            continue
        where, line = f"{shown}:{line}", reader.line_num + 1
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not all(map(_is_text, cells)):
            problems.append(
                Problem(message="is not UTF-8 text", where=where, hint="save the file as UTF-8")
            )
        elif header is None:
            header = [cell.strip() for cell in cells]
            if wrong := _wrong_header(header, columns):
                problems.append(Problem(message=wrong, where=where))
                return
        elif len(cells) != len(header):
            message = f"has {len(cells)} columns where the header has {len(header)}"
            problems.append(Problem(message=message, where=where))
        else:
            yield where, dict(zip(header, cells, strict=True))


def _wrong_header(header: list[str], columns: ColumnMapping | None) -> str | None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return f"the header names a column twice: {', '.join(twice)}"
    try:
        require_columns(columns.columns if columns else (), header)
    except MissingColumn as error:
        return error.message
    return None


def _parquet_rows(path: Path, shown: str, columns: ColumnMapping | None) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInput(f"cannot read: {error}", where=shown) from error
    try:
        require_columns(columns.columns if columns else (), table.column_names)
    except MissingColumn as error:
        raise InvalidInput(error.message, where=shown) from error
    number = 0
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            number += 1
            yield f"{shown}: row {number}", row


# Rows into conversations.


def _conversation(row: Any, where: str, columns: ColumnMapping | None) -> Conversation:
    if not isinstance(row, dict):
        raise _BadRow(f"must be an object with keys, not {_kind(row)}")
    form, turns, used = _turns(row, columns)
    messages = _messages(turns)
    fields = {key: _plain(value) for key, value in row.items() if key not in used}
    if columns and columns.label:
        fields["label"] = messages[-1].content
    return Conversation(messages, where, fields, form)


def _turns(
    row: dict[str, Any], columns: ColumnMapping | None
) -> tuple[Format, list[Any], set[str]]:
    """The row's format, its turns as `messages` would hold them, and the keys they came from."""
    if columns:
        try:
            return "columns", columns.messages(row), set(columns.columns)
        except MissingColumn as error:
            raise _BadRow(error.message) from None
    if "messages" in row:
        return "messages", _list(row, "messages"), {"messages"}
    if "conversations" in row:
        turns = [_sharegpt_turn(turn) for turn in _list(row, "conversations")]
        return "sharegpt", _system(row) + turns, {"conversations", "system"}
    if "prompt" in row or "completion" in row:
        turns = _side(row, "prompt", "user") + _side(row, "completion", "assistant")
        return "prompt-completion", _system(row) + turns, {"prompt", "completion", "system"}
    if "instruction" in row and ("output" in row or "input" in row):
        return "alpaca", _system(row) + _alpaca(row), {"instruction", "input", "output", "system"}
    raise _BadRow(
        f"is in no accepted format; its keys are {', '.join(map(str, row)) or 'none'}",
        hint=f"accepted: {ACCEPTED_FORMATS}. For other columns: `models prepare-data --prompt`",
    )


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row[key]
    if not isinstance(value, list):
        raise _BadRow(f"'{key}' must be a list of messages, not {_kind(value)}")
    return value


def _system(row: Mapping[str, Any]) -> list[Any]:
    """The system turn of a row that carries it beside its turns."""
    content = row.get("system")
    return [{"role": "system", "content": content}] if content not in (None, "") else []


def _side(row: Mapping[str, Any], key: str, role: str) -> list[Any]:
    """The turns of `prompt` or `completion`: a text, or a list of messages."""
    if key not in row:
        raise _BadRow(f"'{key}' is missing")
    value = row[key]
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _alpaca(row: Mapping[str, Any]) -> list[Any]:
    if "output" not in row:
        raise _BadRow("'output' is missing")
    question, extra = row["instruction"], row.get("input")
    if isinstance(question, str) and isinstance(extra, str) and extra.strip():
        question = f"{question.strip()}\n\n{extra.strip()}"
    elif extra is not None and not isinstance(extra, str):
        raise _BadRow(f"'input' must be text, not {_kind(extra)}")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]


def _sharegpt_turn(turn: Any) -> Any:
    if not isinstance(turn, dict):
        return turn
    speaker = turn.get("from", turn.get("role"))
    role = _SHAREGPT_ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {**turn, "role": role, "content": turn.get("value", turn.get("content"))}


def _messages(turns: list[Any]) -> tuple[Message, ...]:
    """Checked turns. Raises _BadRow with everything that is wrong with them."""
    messages: list[Message] = []
    wrong: list[str] = []
    for number, turn in enumerate(turns, start=1):
        problem = _wrong_turn(turn)
        if problem:
            wrong.append(f"message {number}: {problem}")
        else:
            content = cast(str, turn["content"]).replace("\r\n", "\n").strip()
            messages.append(Message(turn["role"], content))
    wrong = wrong or _wrong_order([message.role for message in messages])
    if wrong:
        raise _BadRow(*wrong)
    return tuple(messages)


def _wrong_turn(turn: Any) -> str | None:
    if not isinstance(turn, dict):
        return f"must be an object with role and content, not {_kind(turn)}"
    role, content = turn.get("role"), turn.get("content")
    if role is None:
        return "'role' is missing"
    if role in _TOOL_ROLES:
        return f"role '{role}' is not supported (tool calls are not trained)"
    if role not in ROLES:
        near = did_you_mean(str(role), ROLES)
        return f"unknown role {role!r}{near}; accepted are {', '.join(ROLES)}"
    if turn.get("tool_calls") or turn.get("function_call"):
        return "tool calls are not supported"
    if turn.get("weight") == 0:
        return "'weight: 0' is not supported: every assistant turn is learned"
    if content is None:
        return "'content' is missing"
    if not isinstance(content, str):
        return f"content must be text, not {_kind(content)}"
    if not content.strip():
        return "content is empty"
    if "\0" in content:
        return "content holds a NUL character"
    return None if _is_text(content) else "content is not valid text (half of a surrogate pair)"


def _wrong_order(roles: list[str]) -> list[str]:
    if "assistant" not in roles:
        return ["the assistant's turn is missing, so there is nothing to learn"]
    if "system" in roles[1:]:
        return [f"message {roles.index('system', 1) + 1}: a system message may only come first"]
    turns = roles[1:] if roles[0] == "system" else roles
    skipped = len(roles) - len(turns)
    for index, role in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if role != expected:
            number = index + skipped + 1
            return [f"message {number}: expected the {expected}'s turn, found the {role}'s"]
    if turns[-1] != "assistant":
        return ["the last message must be the assistant's: nothing answers the user's last turn"]
    return []


def _is_text(value: str) -> bool:
    """False when the string holds half of a surrogate pair, which no file or tokenizer takes."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _plain(value: Any) -> Any:
    """A JSON value; what only a table knows (a date, a decimal) becomes its text."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value)
