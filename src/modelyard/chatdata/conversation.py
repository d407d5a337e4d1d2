"""One conversation, which a row of every accepted format becomes. Knows no files or tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Format = Literal["messages", "prompt-completion", "alpaca", "dolly", "sharegpt", "columns", "text"]

TEXT_ROLE = "text"
"""The role of the only message of a plain text, which has no turns."""
WRITTEN_TEXT_KEY = "text"
"""The key of a plain text in train.jsonl."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: str
    """`system`, `user`, `assistant`, `tool`, or `text` for a plain text."""
    content: str
    """Its text with the whitespace around it, as it was given; empty beside tool calls only."""
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Its other keys, which templates may read: `tool_calls`, `reasoning_content`, `name`."""
    trained: bool = True
    """False for an answer that is read and not trained; other roles are never trained."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A checked conversation: an optional system turn, then user and assistant alternating.

    Tools may answer between two turns of the assistant. The last turn is always the assistant's.
    A plain text (format `text`) is one message of the role `text`.
    """

    messages: tuple[Message, ...]
    source: str
    """Where it was read, such as `train.jsonl:12`."""
    fields: Mapping[str, Any]
    """The row's other keys, such as `fact`, `group`, `expect` or `label`; plain JSON values."""
    format: Format = "messages"
    """The format in which it was written."""
    tools: Sequence[Any] = field(default=(), hash=False)
    """The tools that the assistant may call, as templates take them."""
    template_variables: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the row gives to the chat template besides, such as `enable_thinking`."""
    left_out: tuple[str, ...] = field(default=(), compare=False)
    """Columns of a table that hold something and that no template names."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The turns before the last answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last answer; of a plain text, the text."""
        return self.messages[-1].content

    @property
    def first_question(self) -> str:
        """The first user turn; of a plain text, the text."""
        return next(turn.content for turn in self.messages if turn.role in ("user", TEXT_ROLE))

    @property
    def is_plain_text(self) -> bool:
        """Whether it is a text to train on whole, without turns."""
        return self.format == "text"

    @property
    def trained_content(self) -> tuple[tuple[Message, ...], str]:
        """Everything that is rendered: rows that are equal in it teach the same."""
        beside = [self.tools, self.template_variables]
        return self.messages, json.dumps(beside, sort_keys=True) if any(beside) else ""


def conversation_row(conversation: Conversation) -> dict[str, Any]:
    """The row that train.jsonl holds: `messages` or `text` first, then the other keys."""
    if conversation.is_plain_text:
        return {WRITTEN_TEXT_KEY: conversation.answer}
    row: dict[str, Any] = {"messages": [_file_message(turn) for turn in conversation.messages]}
    if conversation.tools:
        row["tools"] = list(conversation.tools)
    if conversation.template_variables:
        row["chat_template_kwargs"] = dict(conversation.template_variables)
    return {**row, **conversation.fields}


def message_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates read them."""
    return [{"role": turn.role, "content": turn.content, **turn.more} for turn in messages]


def _file_message(turn: Message) -> dict[str, Any]:
    untrained = {} if turn.trained else {"train": False}
    return {"role": turn.role, "content": turn.content, **turn.more, **untrained}


def strip_conversation(conversation: Conversation) -> Conversation:
    """The conversation without whitespace around its texts, and with `\\n` for `\\r\\n`."""
    messages = tuple(
        replace(turn, content=turn.content.replace("\r\n", "\n").strip())
        for turn in conversation.messages
    )
    return replace(conversation, messages=messages)
