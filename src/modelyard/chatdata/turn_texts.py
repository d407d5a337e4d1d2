"""Where a template puts each turn's text, and what it did to it.

A turn's own span is what changes in the rendering when only that turn's text is replaced. Does not
know answers, tokens or files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from modelyard.chatdata.conversation import Message
from modelyard.chatdata.template import TemplateRefused

Span = tuple[int, int]
"""A place in a rendering: its first character, and the one after its last."""

Render = Callable[[Sequence[Message]], str]
"""A chat template, without a generation prompt."""

_REASONING_END = re.compile(r"</[^<>\s]*(?:think|reason)[^<>\s]*>|\[/THINK\]", re.IGNORECASE)


class Change(Enum):
    """What a template did to a turn's text."""

    NONE = "none"
    """It is in the rendering as it is written."""
    WHITESPACE = "whitespace"
    """Whitespace was removed or added; every other character is there, in order."""
    REASONING = "reasoning"
    """The reasoning before an answer was left out, its closing tag included."""
    REWRITTEN = "rewritten"
    """What is in its place is not the text."""
    LEFT_OUT = "left out"
    """Nothing in the rendering depends on it."""


@dataclass(frozen=True, slots=True)
class TurnText:
    """One turn's text in a rendering."""

    span: Span
    """The text itself; for a text that is not there, the turn's own span."""
    change: Change
    """What the template did to it."""

    @property
    def is_there(self) -> bool:
        """Whether the text, or the answer that followed its reasoning, is in the rendering."""
        return self.change not in (Change.LEFT_OUT, Change.REWRITTEN)


class TurnTexts:
    """Finds the turns' texts in the renderings of one template."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._outlines: dict[tuple[str, ...], tuple[str, ...]] = {}

    def locate(self, messages: Sequence[Message], rendered: str) -> list[TurnText]:
        """Each turn's text in `rendered`, the rendering of `messages`."""
        roles = tuple(message.role for message in messages)
        if roles not in self._outlines:
            self._outlines[roles] = self._outline(roles)
        return _fill(self._outlines[roles], messages, rendered) or [
            self._locate_one(messages, index, rendered) for index in range(len(messages))
        ]

    def _outline(self, roles: Sequence[str]) -> tuple[str, ...]:
        """The template's own text before, between and after the texts of turns of these roles.

        Empty when it does not put each text into one place, in order.
        """
        marks = [_mark(index) for index in range(len(roles))]
        try:
            rest = self._render([Message(*turn) for turn in zip(roles, marks, strict=True)])
        except TemplateRefused:
            return ()
        pieces: list[str] = []
        for mark in marks:
            piece, found, rest = rest.partition(mark)
            if not found or mark in rest:
                return ()
            pieces.append(piece)
        return (*pieces, rest)

    def _locate_one(self, messages: Sequence[Message], index: int, rendered: str) -> TurnText:
        message = messages[index]
        replaced = replace(message, content=_mark(index))
        try:
            other = self._render([*messages[:index], replaced, *messages[index + 1 :]])
        except TemplateRefused:  # it depends on the text, and so could be anywhere
            start, end = 0, len(rendered)
        else:
            if other == rendered:
                return TurnText((0, 0), Change.LEFT_OUT)
            start = _count_equal(rendered, other)
            end = len(rendered) - _count_equal(rendered[start:][::-1], other[start:][::-1])
        return _find(message, rendered, (start, end))


def _count_equal(one: str, other: str) -> int:
    """How many characters at the beginning of both are equal."""
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def _mark(index: int) -> str:
    """A text that occurs in no template and no row: private characters around a number."""
    return f"\ue000{index}\ue001"


def _fill(
    outline: Sequence[str], messages: Sequence[Message], rendered: str
) -> list[TurnText] | None:
    """The texts when `rendered` is exactly the outline with them filled in, or them stripped."""
    if not outline:
        return None
    found: list[TurnText] = []
    position = 0
    for piece, message in zip(outline, messages, strict=False):
        start = position + len(piece)
        text, change = message.content, Change.NONE
        if not rendered.startswith(text, start):
            text, change = text.strip(), Change.WHITESPACE
        if not rendered.startswith(piece, position) or not rendered.startswith(text, start):
            return None
        position = start + len(text)
        found.append(TurnText((start, position), change))
    return found if rendered[position:] == outline[-1] else None


def _find(message: Message, rendered: str, span: Span) -> TurnText:
    """The message's text within its own span."""
    start, end = span
    if (first := rendered.find(message.content, start, end)) >= 0:
        return TurnText((first, first + len(message.content)), Change.NONE)
    if not any(map(_is_visible, rendered[start:end])):
        return TurnText(span, Change.LEFT_OUT)
    if found := _find_visible(message.content, rendered, span):
        return TurnText(found, Change.WHITESPACE)
    if message.role == "assistant":
        for closing in reversed(list(_REASONING_END.finditer(message.content))):
            if found := _find_visible(message.content[closing.end() :], rendered, span):
                return _with_reasoning(message.content, rendered, found)
    return TurnText(span, Change.REWRITTEN)


def _with_reasoning(content: str, rendered: str, answer: Span) -> TurnText:
    """The text whose end, the answer after its reasoning, lies at `answer`."""
    # A template that opens the reasoning whether there is any or not has the tag before the span.
    visible = "".join(filter(_is_visible, content))
    before = [place for place in range(answer[1]) if _is_visible(rendered[place])]
    if "".join(rendered[place] for place in before[-len(visible) :]) != visible:
        return TurnText(answer, Change.REASONING)
    span = before[-len(visible)], answer[1]
    is_equal = rendered[span[0] : span[1]] == content
    return TurnText(span, Change.NONE if is_equal else Change.WHITESPACE)


def _find_visible(text: str, rendered: str, span: Span) -> Span | None:
    """Where the visible characters of `text` lie in a row, whatever whitespace is between them."""
    places = [place for place in range(*span) if _is_visible(rendered[place])]
    wanted = "".join(filter(_is_visible, text))
    first = "".join(rendered[place] for place in places).find(wanted)
    if not wanted or first < 0:
        return None
    return places[first], places[first + len(wanted) - 1] + 1


def _is_visible(character: str) -> bool:
    return not character.isspace()
