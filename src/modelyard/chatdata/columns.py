"""Columns of a table as conversations: `{subject}` as the question, `{category}` as the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from modelyard.chatdata.conversation import BadRow, kind_of
from modelyard.core.errors import InvalidInput, did_you_mean

_NOT_TEXT = (bytes, bytearray, memoryview, list, tuple, dict)
"""What a table or JSON can hold and no template can: its text would be Python's, not the data's."""

_BRACES_HINT = "write columns as {name}, and {{ or }} for a brace"


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
            near = did_you_mean(column, present)
            return f"has no column '{column}'{near}; its columns are {', '.join(present)}"
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
