"""One conversation, which a row of every accepted format becomes. Knows no files or tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Format = Literal["messages", "prompt-completion", "alpaca", "sharegpt", "columns"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    """Its text, without surrounding whitespace (templates put their own)."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A checked conversation: an optional system turn, then user and assistant alternating.

    The last turn is always the assistant's.
    """

    messages: tuple[Message, ...]
    source: str
    """Where it was read, such as `train.jsonl:12`."""
    fields: Mapping[str, Any]
    """The row's other keys, such as `fact`, `group`, `expect` or `label`; plain JSON values."""
    format: Format = "messages"
    """The format in which it was written."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The turns before the last answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.messages[-1].content

    @property
    def first_question(self) -> str:
        """The first user turn."""
        return next(message.content for message in self.messages if message.role == "user")


def conversation_row(conversation: Conversation) -> dict[str, Any]:
    """The row that train.jsonl holds: `messages` first, then the other keys."""
    return {"messages": message_dicts(conversation.messages), **conversation.fields}


def message_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as templates and files hold them."""
    return [{"role": message.role, "content": message.content} for message in messages]
