"""What a row asks of the chat template, and whether the template does it.

A template that ignores tools, a call or the reasoning before an answer would teach something else
than the row says, so such a row is refused. Knows templates and rows; does not know masks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.rendered_parts import Kind, find_lost_parts
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused
from modelyard.chatdata.turns import RENDERED_KEYS


@dataclass(frozen=True, slots=True)
class Unrendered:
    """What a row holds and the chat template leaves out."""

    wrong: tuple[str, ...] = ()
    """Each thing for which the row must be refused, as what is wrong with it."""
    left_out: tuple[Kind, ...] = ()
    """What is left out of every tool of the row, which the card names."""


def find_unrendered(conversation: Conversation, tokenizer: ChatTokenizer) -> Unrendered:
    """What the row holds and the chat template leaves out; nothing for a plain text.

    Raises TemplateRefused when the template refuses the row as it is.
    """
    if conversation.is_plain_text:
        return Unrendered()
    wrong: list[str] = []
    unknown = [
        name
        for name in conversation.template_variables
        if name not in tokenizer.template.variable_names
    ]
    if unknown:
        wrong.append(
            f"has '{unknown[0]}' in chat_template_kwargs, which the chat template does not read"
        )
    if conversation.tools and _renders_same(
        conversation, replace(conversation, tools=()), tokenizer
    ):
        wrong.append("has tools, and the chat template of the base renders none")
    ignored: list[str] = []
    for index, turn in enumerate(conversation.messages):
        for key in _meaningful_keys(turn):
            changed = list(conversation.messages)
            more = {name: value for name, value in turn.more.items() if name != key}
            changed[index] = replace(turn, more=more)
            without = replace(conversation, messages=tuple(changed))
            if key not in ignored and _renders_same(conversation, without, tokenizer):
                ignored.append(key)
    # Without the number of the message, so that the same in many rows is one line.
    wrong += [f"has '{key}' in a turn, and the chat template does not render it" for key in ignored]
    if wrong:
        return Unrendered(tuple(wrong))
    # What is rendered at all may still be rendered in part.
    lost = find_lost_parts(conversation, tokenizer)
    return Unrendered(tuple(kind.value for kind in lost.wrong), lost.left_out)


def _meaningful_keys(turn: Message) -> list[str]:
    """The keys that must be rendered. A tool's name says which call it answers: often no words."""
    return [
        key
        for key in RENDERED_KEYS
        if turn.more.get(key) not in (None, "") and not (key == "name" and turn.role == "tool")
    ]


def _renders_same(one: Conversation, other: Conversation, tokenizer: ChatTokenizer) -> bool:
    rendered = tokenizer.bound_to(one).render(one.messages)
    try:
        return tokenizer.bound_to(other).render(other.messages) == rendered
    except TemplateRefused:  # so what was left out does count
        return False


class ControlTokens:
    """The control tokens of a base, to be found where they are text of a row."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        texts = sorted(filter(str.strip, tokenizer.special_texts), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, texts))) if texts else None

    def find(self, conversation: Conversation) -> str | None:
        """What is wrong with a row whose texts hold one; None when none does."""
        if self._pattern is None:
            return None
        for place, text in _texts(conversation):
            if found := self._pattern.search(text):
                return f"{place} holds '{found[0]}', which is a control token of the base"
        return None


def _texts(conversation: Conversation) -> Iterator[tuple[str, str]]:
    for number, turn in enumerate(conversation.messages, start=1):
        place = "the text" if conversation.is_plain_text else f"message {number}"
        yield place, turn.content
        if turn.more:
            yield place, _joined(turn.more)
    if conversation.tools:
        yield "a tool", _joined(conversation.tools)
    if conversation.template_variables:
        yield "chat_template_kwargs", _joined(conversation.template_variables)


def _joined(value: Any) -> str:
    """All texts in a value, keys included, without what JSON would escape."""
    if isinstance(value, Mapping):
        return "\n".join(_joined(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return "\n".join(map(_joined, value))
    return value if isinstance(value, str) else json.dumps(value)
