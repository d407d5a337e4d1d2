"""Columns of a table as conversations: `{subject}` as the question, `{category}` as the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from modelyard.core.errors import InvalidInput, did_you_mean

_NO_TEXT: dict[type, str] = {
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}
"""What a table or JSON can hold and no template can: its text would be Python's, not the data's."""


class UnusableColumn(InvalidInput):
    """A column cannot be part of a conversation."""


class MissingColumn(UnusableColumn):
    """A template names a column that the table does not have."""


class NoText(UnusableColumn):
    """A column that is used holds bytes, a list or an object."""


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
            _parts(template or "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is used, once each."""
        templates = (self.prompt, self.answer or "", self.system or "")
        named = [column for template in templates for _, column in _parts(template) if column]
        return tuple(dict.fromkeys([*named, *([self.label] if self.label else [])]))

    def messages(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """The row's turns. Raises MissingColumn, or NoText with every column that holds none."""
        require_columns(self.columns, list(row))
        _require_text(self.columns, row)
        answer = _text(row[self.label]) if self.label else fill(self.answer or "", row)
        turns = [("user", fill(self.prompt, row)), ("assistant", answer)]
        if self.system:
            turns.insert(0, ("system", fill(self.system, row)))
        return [{"role": role, "content": content} for role, content in turns]


def require_columns(wanted: Sequence[str], present: Sequence[str]) -> None:
    """Raise MissingColumn for the first column that is not there."""
    for column in wanted:
        if column not in present:
            near = did_you_mean(column, present)
            raise MissingColumn(
                f"has no column '{column}'{near}; its columns are {', '.join(present)}"
            )


def _require_text(wanted: Sequence[str], row: Mapping[str, Any]) -> None:
    kinds = {column: _NO_TEXT.get(type(row[column])) for column in wanted}
    wrong = [f"column '{column}' holds {kind}" for column, kind in kinds.items() if kind]
    if wrong:
        raise NoText(
            f"{' and '.join(wrong)}, which has no text to put into a template",
            hint="turn it into text or numbers in the source, or use another column",
        )


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with each `{column}` replaced; nothing but a column's name means anything."""
    return "".join(
        literal + (_text(row[column]) if column else "") for literal, column in _parts(template)
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Literal text and the column that follows it (None at the end), `{{` standing for a brace."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidInput(
            f"the template {template!r} is not valid: {error}",
            hint="write columns as {name}, and {{ or }} for a brace",
        ) from error
    for _, column, form, conversion in parsed:
        if column == "" or form or conversion:
            raise InvalidInput(
                f"the template {template!r} holds more than column names in its braces",
                hint="write columns as {name}, and {{ or }} for a brace",
            )
    return [(literal, column) for literal, column, _, _ in parsed]
