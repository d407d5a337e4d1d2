"""One row of data, in any of the accepted formats, into a checked `Conversation`.

Knows the formats that people have (messages, prompt and completion, Alpaca, Dolly, ShareGPT,
columns, plain text). Every key of a row is used, refused because it changes the meaning of the row,
or kept beside the turns; does not know files.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.chatdata.call_results import require_known_tools
from modelyard.chatdata.columns import (
    BadRow,
    ColumnMapping,
    column_texts,
    list_keys,
    missing_column,
    suggest_columns,
)
from modelyard.chatdata.conversation import TEXT_ROLE, Conversation, Format, Message
from modelyard.chatdata.json_values import (
    TOO_DEEP,
    NotJson,
    is_absent,
    is_null,
    is_too_deep,
    kind_of,
    parse_json,
    plain_value,
)
from modelyard.chatdata.row_meaning import ROW_FLAGS, TEMPLATE_KEY, changes_of_meaning
from modelyard.chatdata.row_reasoning import REASONING_KEYS, reasoning_of, with_reasoning
from modelyard.chatdata.turns import (
    MEDIA_KEYS,
    NO_PREFERENCES,
    PREFERENCE_KEYS,
    build_messages,
)

ACCEPTED_FORMATS = (
    "messages; prompt and completion; instruction, input and output (Alpaca); "
    "instruction, context and response (Dolly); conversations (ShareGPT)"
)

STDIN_NAME = "stdin"
"""What rows that came through a pipe are from, in messages and on the card."""

_SYSTEM_KEYS = ("system", "system_prompt", "system_message", "instructions")
_TOOL_KEYS = ("tools", "functions")
_EVERY_FORMAT = (*_SYSTEM_KEYS, *_TOOL_KEYS, TEMPLATE_KEY, *ROW_FLAGS)
"""Keys that are used beside the turns of every format."""
_FLAG_WORDS = ("true", "false", "1", "0")
"""Labels that say whether an answer is good, in cells of a table."""
_OF_THE_TEMPLATE = ("messages", "tools", "documents", "add_generation_prompt", "chat_template")
"""What a row may not give to the template under these names."""


def build_conversation(
    row: Any, where: str, columns: ColumnMapping | None, text_column: str | None = None
) -> Conversation:
    """One row as a checked conversation.

    Keys that hold no turns become its fields, and those that evaluation reads are checked. With
    `columns` or `text_column`, only the columns that they name are kept. Raises BadRow.
    """
    if not isinstance(row, dict):
        raise BadRow(f"must be an object with keys, not {kind_of(row)}")
    if is_too_deep(row):
        raise BadRow(TOO_DEEP)
    if text_column is not None:
        return _plain_text(row, where, text_column)
    if columns:
        messages = build_messages(columns.turns(row))
        fields = {"label": messages[-1].content} if columns.label else {}
        left_out = _left_out(row, columns.columns)
        return Conversation(messages, where, fields, "columns", left_out=left_out)
    if wrong := changes_of_meaning(row):
        raise BadRow(*wrong)
    format, turns, used = _turns(row, where)
    messages = build_messages(_with_system(row, turns))
    read = (*used, *_EVERY_FORMAT, *reasoning_of(row))
    fields = _fields({key: row[key] for key in row if key not in read})
    if wrong_label := _wrong_label(fields.get("label"), messages[-1].content):
        raise BadRow(wrong_label)
    tools = _tools(row)
    require_known_tools(messages, tools)
    return Conversation(
        messages, where, fields, format, tools=tools, template_variables=_variables(row)
    )


def _plain_text(row: Mapping[str, Any], where: str, column: str) -> Conversation:
    """A row of plain text, to train on whole."""
    if missing := missing_column([column], list(row)):
        raise BadRow(missing)
    text = column_texts(row, [column])[column]
    if not text.strip():
        raise BadRow(f"column '{column}' is empty")
    if "\0" in text:
        raise BadRow(f"column '{column}' holds a NUL character")
    left_out = _left_out(row, [column])
    return Conversation((Message(TEXT_ROLE, text),), where, {}, "text", left_out=left_out)


def _left_out(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """The keys of a row that hold something and that no column names."""
    named = {part for column in columns for part in (column, column.partition(".")[0])}
    return tuple(key for key in row if key not in named and not is_absent(row[key]))


# Keys beside the turns.


def _tools(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The tools in the form that templates take: `{"type": "function", "function": {...}}`."""
    given = [key for key in _TOOL_KEYS if not is_absent(row.get(key))]
    if not given:
        return ()
    if len(given) > 1:
        raise BadRow(f"has both '{given[0]}' and '{given[1]}'")
    tools = _list(row, given[0], "tools")
    for tool in tools:
        if not isinstance(tool, dict):
            raise BadRow(f"'{given[0]}' must hold an object for each tool, not {kind_of(tool)}")
    read = tuple(plain_value(_tool(tool)) for tool in tools)
    for tool in read:
        function = tool.get("function", tool)
        if not isinstance(function, dict) or not _has_text(function.get("name")):
            raise BadRow(
                f"a tool of '{given[0]}' has no name",
                hint='write each as {"type": "function", "function": {"name": ..., ...}}',
            )
    return read


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    is_bare = "name" in tool and "function" not in tool and "type" not in tool
    return {"type": "function", "function": tool} if is_bare else tool


def _variables(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row gives to the chat template."""
    given = row.get(TEMPLATE_KEY)
    if is_absent(given):
        return {}
    value = _parsed(given, TEMPLATE_KEY) if isinstance(given, str) else given
    if not isinstance(value, dict):
        raise BadRow(f"'{TEMPLATE_KEY}' must be an object, not {kind_of(value)}")
    if taken := [key for key in _OF_THE_TEMPLATE if key in value]:
        raise BadRow(f"'{TEMPLATE_KEY}' may not hold '{taken[0]}', which is no variable")
    return {str(key): plain_value(item) for key, item in value.items() if not is_null(item)}


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keys beside the turns, as plain JSON. Raises BadRow for what evaluation cannot use.

    A table has every column in every row, so `expect` and `label` that are null are left out, and
    so is what would change a row's meaning and is empty.
    """
    fields = {str(key): plain_value(row[key]) for key in row if not _says_nothing(key, row[key])}
    expect = fields.get("expect")
    if isinstance(expect, str) and expect.lstrip().startswith("["):  # in a cell of a table
        fields["expect"] = _parsed(expect, "expect")
    wrong = [problem for key in fields if (problem := _wrong_field(key, fields[key]))]
    if wrong:
        raise BadRow(*wrong)
    return fields


def _says_nothing(key: str, value: Any) -> bool:
    """Whether a key that would mean something is empty."""
    if key in ("expect", "label"):
        return is_null(value) or (key == "expect" and value == "")
    return key in (*MEDIA_KEYS, *PREFERENCE_KEYS, *REASONING_KEYS) and is_absent(value)


def _wrong_field(key: str, value: Any) -> str | None:
    """What keeps evaluation from using a key beside the turns."""
    if key == "expect" and not _is_expectation(value):
        return f'\'{key}\' must be a list of lists of text, such as [["ten", "10"], ["euros"]]'
    if key == "label" and not _has_text(value):
        what = "empty" if isinstance(value, str) else kind_of(value)
        return f"'{key}' must be the answer's text, such as \"positive\", not {what}"
    if key in ("group", "fact") and not (value is None or isinstance(value, str)):
        return f"'{key}' must be text or null, not {kind_of(value)}"
    return None


def _wrong_label(label: str | None, answer: str) -> str | None:
    """What is wrong with a label beside this answer; None where it is the answer, or in it."""
    if label is None or label.strip().casefold() in answer.casefold():
        return None
    if label.strip().casefold() in _FLAG_WORDS:
        return f"holds 'label' {label!r}, so it is {NO_PREFERENCES}"
    return (
        f"'label' is {label!r}, which the answer does not hold; it is the right answer, with which "
        "evaluation compares"
    )


def _is_expectation(value: Any) -> bool:
    """Whether it is a list of lists of text, none of them empty."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(group, list) and group and all(map(_has_text, group)) for group in value)
    )


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


# Turns.


def _turns(row: dict[str, Any], where: str) -> tuple[Format, list[Any], tuple[str, ...]]:
    """The row's format, its turns, and the keys they came from."""
    empty = _empty_formats(row)
    if empty:
        present = {key: value for key, value in row.items() if key not in empty}
        format, turns, used = _turns(present, where)
        return format, turns, (*used, *empty)
    if "messages" in row:
        turns = _list(row, "messages", "messages")
        _require_same(turns, row)
        return "messages", with_reasoning(row, _without_history(row, turns)), ("messages",)
    if "conversations" in row:
        turns = _list(row, "conversations", "messages")
        turns = with_reasoning(row, _without_history(row, turns))
        return "sharegpt", turns, ("conversations",)
    suggested = suggest_columns(row)
    if "completion" in row or ("prompt" in row and not suggested):
        turns = _side(row, "prompt", "user") + with_reasoning(
            row, _side(row, "completion", "assistant")
        )
        used = ("prompt", "completion", "history")
        return "prompt-completion", _history(row) + turns, used
    if "instruction" in row and "context" in row and "response" in row:
        used = ("instruction", "context", "response", "history")
        return "dolly", _history(row) + _instruction(row, "context", "response"), used
    if "instruction" in row and ("output" in row or ("input" in row and not suggested)):
        used = ("instruction", "input", "output", "history")
        return "alpaca", _history(row) + _instruction(row, "input", "output"), used
    raise BadRow(
        f"is in no accepted format; its keys are {list_keys(list(row))}",
        hint=_format_hint(row, where, suggested),
    )


def _empty_formats(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of turns that are null beside those of another format, as in a table of several."""
    empty = tuple(key for key in ("messages", "conversations") if key in row and is_null(row[key]))
    sides = tuple(key for key in ("prompt", "completion") if key in row)
    is_empty = bool(sides) and all(is_null(row[key]) for key in sides)
    others = ("instruction",) if is_empty else ("prompt", "completion", "instruction")
    others = (*others, "messages", "conversations")
    if all(is_null(row.get(key)) for key in others):
        return ()
    return (*empty, *(sides if is_empty else ()))


def _require_same(turns: list[Any], row: Mapping[str, Any]) -> None:
    """Raise BadRow when the row holds `conversations` beside `messages`, and they differ."""
    if is_absent(row.get("conversations")):
        return
    other = _list(row, "conversations", "messages")
    if build_messages(other) != build_messages(turns):
        raise BadRow("'messages' and 'conversations' differ; leave out one of them")


def _format_hint(row: Mapping[str, Any], where: str, suggested: str | None) -> str:
    name = where.rpartition(":")[0]
    file = "-" if name == STDIN_NAME else shlex.quote(name)
    if suggested:
        return f"name its columns: models prepare-data {file} {suggested} --out NAME"
    if not is_absent(row.get("history")):
        return "call its question 'prompt' and its answer 'completion': then 'history' counts too"
    if "message_id" in row and "parent_id" in row:
        return (
            "it is one message of a tree, as OpenAssistant has them: write each path of it as a "
            "row with 'messages'"
        )
    if isinstance(row.get("text"), str):
        return (
            f"plain text is trained on whole, as a dataset of its own: models prepare-data {file} "
            "--text-column text --out NAME"
        )
    return f"accepted: {ACCEPTED_FORMATS}. For other columns: `models prepare-data --prompt`"


def _list(row: Mapping[str, Any], key: str, of: str) -> list[Any]:
    """A list, or the JSON text of one, as a cell of a table holds it."""
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        value = _parsed(value, key)
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, list):
        raise BadRow(f"'{key}' must be a list of {of}, not {kind_of(value)}")
    return value


def _parsed(text: str, key: str) -> Any:
    try:
        return parse_json(text)
    except NotJson as error:
        is_python = text.lstrip("[( ").startswith(("{'", "'"))
        hint = "it is Python's text of a list; write it with json.dumps" if is_python else None
        raise BadRow(f"'{key}' {error}", hint=hint) from None


def _with_system(row: Mapping[str, Any], turns: list[Any]) -> list[Any]:
    """The turns with the system turn that the row carries beside them."""
    given = {key: row[key] for key in _SYSTEM_KEYS if not is_absent(row.get(key))}
    if not given:
        return turns
    key, content = next(iter(given.items()))
    if any(other != content for other in given.values()):
        raise BadRow(f"{' and '.join(map(repr, given))} differ")
    first = turns[0] if turns else None
    if isinstance(first, Mapping) and first.get("role", first.get("from")) == "system":
        if first.get("content", first.get("value")) == content:
            return turns
        raise BadRow(f"has two system turns: '{key}', and another one as message 1")
    return [{"role": "system", "content": content}, *turns]


def _side(row: Mapping[str, Any], key: str, role: str) -> list[Any]:
    """The turns of `prompt` or `completion`: a text, or a list of messages (also as JSON text)."""
    if key not in row:
        raise BadRow(f"'{key}' is missing")
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            parsed = parse_json(value)
        except NotJson:
            parsed = None  # a text that begins so
        if parsed and all(isinstance(turn, dict) and "role" in turn for turn in parsed):
            return list(parsed)
    return list(value) if isinstance(value, (list, tuple)) else [{"role": role, "content": value}]


def _instruction(row: Mapping[str, Any], context: str, answer: str) -> list[Any]:
    """The turns of an instruction with what it is about, as Alpaca and Dolly have them."""
    if answer not in row:
        raise BadRow(f"'{answer}' is missing")
    question, extra = row["instruction"], row.get(context)
    if isinstance(question, str) and isinstance(extra, str) and extra.strip():
        question = f"{question}\n\n{extra}" if question.strip() else extra
    elif extra is not None and not isinstance(extra, str):
        raise BadRow(f"'{context}' must be text, not {kind_of(extra)}")
    answered = with_reasoning(row, [{"role": "assistant", "content": row[answer]}])
    return [{"role": "user", "content": question}, *answered]


def _history(row: Mapping[str, Any]) -> list[Any]:
    """The earlier turns of a row, pairs of a question and its answer."""
    if is_absent(row.get("history")):
        return []
    turns: list[Any] = []
    for pair in _list(row, "history", "pairs of a question and its answer"):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise BadRow("'history' must be a list of pairs of a question and its answer")
        question, answer = pair
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": answer})
    return turns


def _without_history(row: Mapping[str, Any], turns: list[Any]) -> list[Any]:
    if not is_absent(row.get("history")):
        raise BadRow("holds 'history' beside its messages; put the earlier turns into them")
    return turns
