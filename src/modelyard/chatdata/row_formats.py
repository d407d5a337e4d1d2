"""One row of data, in any of the accepted formats, into a checked `Conversation`.

Knows the formats that people have (messages, prompt and completion, Alpaca, ShareGPT, columns) and
what every conversation must hold; does not know files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, cast

from modelyard.chatdata.conversation import Conversation, Format, Message
from modelyard.core.errors import Diagnostic, InvalidInput, did_you_mean

ACCEPTED_FORMATS = (
    "messages; prompt and completion; instruction, input and output (Alpaca); "
    "conversations (ShareGPT)"
)

_ROLES = ("system", "user", "assistant")

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
    tuple: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
}
"""What messages call the values of a row."""
_NOT_TEXT = (bytes, bytearray, memoryview, list, tuple, dict)
"""What a table or JSON can hold and no template can: its text would be Python's, not the data's."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACES_HINT = "write columns as {name}, and {{ or }} for a brace"


class BadRow(Exception):
    """A row that cannot become a conversation, with everything that is wrong with it."""

    def __init__(self, *messages: str, hint: str | None = None) -> None:
        super().__init__(*messages)
        self.messages = messages
        self.hint = hint

    def problems(self, where: str) -> list[Diagnostic]:
        """One Diagnostic for each message."""
        return [Diagnostic(message=text, where=where, hint=self.hint) for text in self.messages]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """How the columns of a table make a conversation. Templates name columns in braces.

    Nothing else of a row is kept: a column that is not used is not part of the conversation.
    """

    prompt: str
    """The question, such as `{subject}\\n{body}`."""
    answer: str | None = None
    """The answer, such as `{reply}`. Exactly one of `answer` and `label` is given."""
    system: str | None = None
    """The system turn, or None for none."""
    label: str | None = None
    """The column whose value is the answer, and the `label` that evaluation compares exactly."""

    def __post_init__(self) -> None:
        if (self.answer is None) == (self.label is None):
            raise InvalidInput(
                "a prompt template needs exactly one of an answer template and a label column",
                hint='add --answer "{column}", or --label COLUMN when the answers are labels',
            )
        for template in (self.prompt, self.answer, self.system):
            _parse_template(template or "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is used, once each."""
        templates = (self.prompt, self.answer or "", self.system or "")
        named = [column for text in templates for _, column in _parse_template(text) if column]
        return tuple(dict.fromkeys([*named, *([self.label] if self.label else [])]))

    def messages(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """The row's turns. Raises BadRow when it lacks a column, or with every one without text."""
        if missing := missing_column(self.columns, list(row)):
            raise BadRow(missing)
        wrong = [
            f"column '{column}' holds {kind_of(row[column])}"
            for column in self.columns
            if isinstance(row[column], _NOT_TEXT)
        ]
        if wrong:
            raise BadRow(
                f"{' and '.join(wrong)}, which has no text to put into a template",
                hint="turn it into text or numbers in the source, or use another column",
            )
        answer = _text(row[self.label]) if self.label else _fill(self.answer or "", row)
        turns = [("user", _fill(self.prompt, row)), ("assistant", answer)]
        if self.system:
            turns.insert(0, ("system", _fill(self.system, row)))
        return [{"role": role, "content": content} for role, content in turns]


def missing_column(wanted: Sequence[str], present: Sequence[str]) -> str | None:
    """The message about the first wanted column that is not there; None when all are."""
    for column in wanted:
        if column not in present:
            return (
                f"has no column '{column}'{did_you_mean(column, present)}; "
                f"its columns are {', '.join(present)}"
            )
    return None


def _fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with each `{column}` replaced by the row's text."""
    return "".join(
        literal + (_text(row[column]) if column else "")
        for literal, column in _parse_template(template)
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _parse_template(template: str) -> list[tuple[str, str | None]]:
    """Literal text and the column that follows it (None at the end); `{{` stands for a brace.

    Raises InvalidInput for anything but column names in the braces.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidInput(
            f"the template {template!r} is not valid: {error}", hint=_BRACES_HINT
        ) from error
    if any(column == "" or form or conversion for _, column, form, conversion in parsed):
        raise InvalidInput(
            f"the template {template!r} holds more than column names in its braces",
            hint=_BRACES_HINT,
        )
    return [(literal, column) for literal, column, _, _ in parsed]


def build_conversation(row: Any, where: str, columns: ColumnMapping | None) -> Conversation:
    """One row as a checked conversation.

    Keys that hold no turns become its fields, and those that evaluation reads are checked. With
    `columns`, only the columns that they name are kept. Raises BadRow.
    """
    if not isinstance(row, dict):
        raise BadRow(f"must be an object with keys, not {kind_of(row)}")
    format, turns, used = _turns(row, columns)
    messages = _messages(turns)
    if columns:
        fields = {"label": messages[-1].content} if columns.label else {}
    else:
        fields = _fields({key: value for key, value in row.items() if key not in used})
    return Conversation(messages, where, fields, format)


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keys beside the turns, as plain JSON. Raises BadRow for what evaluation cannot use.

    A table has every column in every row, so `expect` and `label` that are null are left out.
    """
    fields = {
        key: _plain(value)
        for key, value in row.items()
        if not (key in ("expect", "label") and value is None)
    }
    wrong = [problem for key in fields if (problem := _wrong_field(key, row[key]))]
    if wrong:
        raise BadRow(*wrong)
    return fields


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


def _is_expectation(value: Any) -> bool:
    """Whether it is a list of lists of text, none of them empty."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(group, list) and group and all(map(_has_text, group)) for group in value)
    )


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _turns(
    row: dict[str, Any], columns: ColumnMapping | None
) -> tuple[Format, list[Any], set[str]]:
    """The row's format, its turns as `messages` would hold them, and the keys they came from."""
    if columns:
        return "columns", columns.messages(row), set(columns.columns)
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
    raise BadRow(
        f"is in no accepted format; its keys are {', '.join(map(str, row)) or 'none'}",
        hint=f"accepted: {ACCEPTED_FORMATS}. For other columns: `models prepare-data --prompt`",
    )


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row[key]
    if not isinstance(value, list):
        raise BadRow(f"'{key}' must be a list of messages, not {kind_of(value)}")
    return value


def _system(row: Mapping[str, Any]) -> list[Any]:
    """The system turn of a row that carries it beside its turns."""
    content = row.get("system")
    return [{"role": "system", "content": content}] if content not in (None, "") else []


def _side(row: Mapping[str, Any], key: str, role: str) -> list[Any]:
    """The turns of `prompt` or `completion`: a text, or a list of messages."""
    if key not in row:
        raise BadRow(f"'{key}' is missing")
    value = row[key]
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _alpaca(row: Mapping[str, Any]) -> list[Any]:
    if "output" not in row:
        raise BadRow("'output' is missing")
    question, extra = row["instruction"], row.get("input")
    if isinstance(question, str) and isinstance(extra, str) and extra.strip():
        question = f"{question.strip()}\n\n{extra.strip()}"
    elif extra is not None and not isinstance(extra, str):
        raise BadRow(f"'input' must be text, not {kind_of(extra)}")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]


def _sharegpt_turn(turn: Any) -> Any:
    if not isinstance(turn, dict):
        return turn
    speaker = turn.get("from", turn.get("role"))
    role = _SHAREGPT_ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {**turn, "role": role, "content": turn.get("value", turn.get("content"))}


def _messages(turns: list[Any]) -> tuple[Message, ...]:
    """Checked turns. Raises BadRow with everything that is wrong with them."""
    messages: list[Message] = []
    wrong: list[str] = []
    for number, turn in enumerate(turns, start=1):
        if problem := _wrong_turn(turn):
            wrong.append(f"message {number}: {problem}")
        else:
            content = cast(str, turn["content"]).replace("\r\n", "\n").strip()
            messages.append(Message(turn["role"], content))
    wrong = wrong or _wrong_order([message.role for message in messages])
    if wrong:
        raise BadRow(*wrong)
    return tuple(messages)


def _wrong_turn(turn: Any) -> str | None:
    if not isinstance(turn, dict):
        return f"must be an object with role and content, not {kind_of(turn)}"
    role, content = turn.get("role"), turn.get("content")
    if role is None:
        return "'role' is missing"
    if role in _TOOL_ROLES:
        return f"role '{role}' is not supported (tool calls are not trained)"
    if role not in _ROLES:
        return (
            f"unknown role {role!r}{did_you_mean(str(role), _ROLES)}; "
            f"accepted are {', '.join(_ROLES)}"
        )
    if turn.get("tool_calls") or turn.get("function_call"):
        return "tool calls are not supported"
    if turn.get("weight") == 0:
        return "'weight: 0' is not supported: every assistant turn is trained"
    if content is None:
        return "'content' is missing"
    if not isinstance(content, str):
        return f"content must be text, not {kind_of(content)}"
    if not content.strip():
        return "content is empty"
    if "\0" in content:
        return "content holds a NUL character"
    return None if is_text(content) else "content is not valid text (half of a surrogate pair)"


def _wrong_order(roles: list[str]) -> list[str]:
    if "assistant" not in roles:
        return ["the assistant's turn is missing, so there is nothing to train on"]
    if "system" in roles[1:]:
        return [f"message {roles.index('system', 1) + 1}: a system message may only come first"]
    first = 1 if roles[0] == "system" else 0
    for index, role in enumerate(roles[first:], start=first):
        expected = ("user", "assistant")[(index - first) % 2]
        if role != expected:
            return [f"message {index + 1}: expected the {expected}'s turn, found the {role}'s"]
    if roles[-1] != "assistant":
        return ["the last message must be the assistant's: the user's last turn has no answer"]
    return []


def is_text(value: str) -> bool:
    """False when the string holds half of a surrogate pair, which no file or tokenizer takes."""
    return value.isascii() or _SURROGATE.search(value) is None


def _plain(value: Any) -> Any:
    """A JSON value; what only a table can hold (a date, a decimal) becomes its text."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def kind_of(value: Any) -> str:
    """What a value is, in the words of messages: `a list`, `text`, `null`."""
    return _KINDS.get(type(value), type(value).__name__)
