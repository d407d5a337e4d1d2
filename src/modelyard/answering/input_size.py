"""How many tokens the input of a call has: exactly, or between two bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.answering.prompt import count_input, count_tokens, estimate_tokens
from modelyard.chatdata.conversation import Message

if TYPE_CHECKING:
    from modelyard.chatdata.template import ChatTokenizer


_LONG_TEXT = 200_000
"""Characters of a text that is counted in a tenth of a second or so; longer ones take seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSize:
    """How many tokens the input of a call has."""

    least: int
    """Fewer it cannot be: when these do not fit a model, it is not asked."""
    about: int
    """An estimate, by which rules go."""
    most: int
    """More it cannot be: by these, money is reserved."""

    @classmethod
    def exact(cls, tokens: int) -> InputSize:
        """Of so many tokens, which the model's own tokenizer counted, or a person says."""
        return cls(least=tokens, about=tokens, most=tokens)

    @classmethod
    def between(cls, about: int, most: int) -> InputSize:
        """Of an estimate, which takes four bytes for a token, and an upper bound.

        Tokens of more than six bytes on average are in no text that anybody asks about.
        """
        return cls(least=about * 2 // 3, about=about, most=most)

    @classmethod
    def from_least(cls, least: int, text: str) -> InputSize:
        """Of a text that is known to have so many tokens at least, and was not counted."""
        return cls(least=least, about=max(least, estimate_tokens(text)), most=count_tokens(text))

    @property
    def is_exact(self) -> bool:
        """Whether the tokens were counted."""
        return self.least == self.most


def least_beyond(tokenizer: ChatTokenizer, text: str, room: int) -> int | None:
    """Tokens that a long text has at least, where that alone is `room` or more; else None."""
    if len(text) < _LONG_TEXT:
        return None
    least = tokenizer.least_tokens(text)
    return least if least >= room else None


def size_of(
    messages: Sequence[Message],
    schema: Mapping[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> InputSize:
    """How many tokens these have for a model whose tokenizer is not here."""
    return InputSize.between(
        count_input(messages, json_schema=schema, tools=tools, count=estimate_tokens),
        count_input(messages, json_schema=schema, tools=tools),
    )
