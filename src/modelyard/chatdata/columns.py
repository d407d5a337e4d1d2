"""Columns of a table into the turns of a conversation, by templates that name them in braces.

Knows rows as mappings; does not know files, or what a conversation must hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from modelyard.chatdata.json_values import NotJson, is_absent, is_null, kind_of, parse_json
from modelyard.core.errors import Diagnostic, InvalidInput, did_you_mean

_NOT_TEXT = (bytes, bytearray, memoryview, list, tuple, dict)
"""What a table or JSON can hold and no template can: its text would be Python's, not the data's."""
_BRACES_HINT = "write columns as {name} or {outer.inner}, and {{ or }} for a brace"

_KNOWN_PAIRS = (
    ("question", "answer"),
    ("question", "response"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("input", "output"),
)
_KNOWN_LABELS = (("text", "label"), ("text", "category"), ("sentence", "label"))
"""Columns that many tables have for a question and its answer, or for a text and its class."""
_SHOWN_KEYS = 20
_NO_COLUMNS = ("history", "tools", "functions")
"""Keys that no template of columns takes along: with one of them no columns are suggested."""
_SYSTEM_COLUMNS = ("system", "system_prompt")


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

    `{a.b}` is the key `b` of what column `a` holds: an object, or the JSON text of one. Nothing
    else of a row is kept: a column that is not used is not part of the conversation.
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
        for option, template in (("prompt", self.prompt), ("answer", self.answer)):
            if template and not any(column for _, column in _parse_template(template)):
                raise InvalidInput(
                    f"the {option} template {template!r} names no column, so it would be the same "
                    "text in every row",
                    hint=f"write columns in braces, such as --{option} '{{{template.strip()}}}'",
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is used, once each."""
        templates = (self.prompt, self.answer or "", self.system or "")
        named = [column for text in templates for _, column in _parse_template(text) if column]
        return tuple(dict.fromkeys([*named, *([self.label] if self.label else [])]))

    def turns(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """The row's turns. Raises BadRow when it lacks a column, or with every one without text."""
        if missing := missing_column(self.columns, list(row)):
            raise BadRow(missing)
        texts = column_texts(row, self.columns)
        answer = texts[self.label] if self.label else _fill(self.answer or "", texts)
        turns = [("user", _fill(self.prompt, texts)), ("assistant", answer)]
        system = _fill(self.system, texts) if self.system else ""
        if system.strip():  # a table has the column in rows without a system turn too
            turns.insert(0, ("system", system))
        return [{"role": role, "content": content} for role, content in turns]


def missing_column(wanted: Sequence[str], present: Sequence[str]) -> str | None:
    """The message about the first wanted column that is not there; None when all are."""
    for column in wanted:
        if column not in present and column.partition(".")[0] not in present:
            return (
                f"has no column '{column}'{did_you_mean(column, present)}; "
                f"its columns are {list_keys(present)}"
            )
    return None


def list_keys(keys: Sequence[Any]) -> str:
    """The names of keys or columns, as messages show them."""
    more = f" and {len(keys) - _SHOWN_KEYS:,} more" if len(keys) > _SHOWN_KEYS else ""
    return (", ".join(map(str, keys[:_SHOWN_KEYS])) or "none") + more


def column_texts(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """The text of each column. Raises BadRow with every one that has none."""
    values = {column: _value(row, column) for column in columns}
    wrong = [
        f"column '{column}' holds {kind_of(value)}"
        for column, value in values.items()
        if isinstance(value, _NOT_TEXT)
    ]
    if wrong:
        raise BadRow(
            f"{' and '.join(wrong)}, which has no text to put into a template",
            hint="name a key in it as {column.key}, or turn it into text in the source",
        )
    return {column: "" if is_null(value) else str(value) for column, value in values.items()}


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What a column holds, or a key inside one: `a.b`. Raises BadRow when there is no such key."""
    if column in row:
        return row[column]
    value: Any = row
    parts = column.split(".")
    for number, part in enumerate(parts):
        outer = ".".join(parts[:number])
        if isinstance(value, str):
            try:
                value = parse_json(value)
            except NotJson as error:
                raise BadRow(f"'{outer}' has no '{part}': its text {error}") from None
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise BadRow(
                f"'{outer}' has no '{part}'{did_you_mean(part, known)}; it holds "
                + (f"the keys {list_keys(known)}" if known else kind_of(value))
            )
        value = value[part]
    return value


def _fill(template: str, texts: Mapping[str, str]) -> str:
    """The template with each `{column}` replaced by the row's text."""
    return "".join(
        literal + (texts[column] if column else "") for literal, column in _parse_template(template)
    )


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


def suggest_columns(row: Mapping[str, Any]) -> str | None:
    """The options that make conversations of a row whose columns have well-known names.

    None when there are none, or when they would leave out what changes the meaning of the row.
    """
    if not all(is_absent(row.get(key)) for key in _NO_COLUMNS):
        return None

    def holds_text(*columns: str) -> bool:
        return all(isinstance(row.get(column), (str, int, float)) for column in columns)

    system = next((column for column in _SYSTEM_COLUMNS if holds_text(column)), None)
    options = f"--system '{{{system}}}' " if system else ""
    for question, answer in _KNOWN_PAIRS:
        if holds_text(question, answer):
            return f"{options}--prompt '{{{question}}}' --answer '{{{answer}}}'"
    for text, label in _KNOWN_LABELS:
        if holds_text(text, label):
            return f"{options}--prompt '{{{text}}}' --label {label}"
    return None
