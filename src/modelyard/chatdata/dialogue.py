"""A conversation that goes on: its turns, and the tokens of all of them with the next question."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.chatdata.conversation import Message
from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.errors import InvalidInput


class ContextFull(InvalidInput):
    """A question with all that precedes it is longer than what the model takes."""


@dataclass(slots=True, kw_only=True)
class Turns:
    """Questions and answers so far."""

    system: str | None = None
    """A system turn before all others."""
    turns: list[Message] = field(default_factory=list)
    """Questions and answers in turn; the last is an answer."""

    def add(self, question: str, answer: str) -> None:
        """Go on from this answer."""
        self.turns += [Message("user", question), Message("assistant", answer)]

    def reset(self) -> None:
        """Forget all turns but the system's."""
        self.turns.clear()


@dataclass(slots=True, kw_only=True)
class Dialogue(Turns):
    """Turns as tokens. None of them is ever left out of what the model reads."""

    tokenizer: ChatTokenizer
    """Renders the turns through the chat template."""
    context_length: int
    """The most tokens that the model takes, its answer included."""

    def encode(self, question: str) -> list[int]:
        """The tokens of all turns and the question, up to where its answer begins.

        Raises ContextFull when that leaves no room for an answer, TemplateRefused when the chat
        template does not accept the turns.
        """
        system = [Message("system", self.system)] if self.system else []
        tokens = self.tokenizer.encode_prompt([*system, *self.turns, Message("user", question)])
        over = len(tokens) + 1 - self.context_length
        if over > 0:
            raise ContextFull(
                f"{'the conversation with this' if self.turns else 'this'} question has "
                f"{len(tokens):,} tokens: {over:,} more than the model can take and answer "
                f"(context length {self.context_length:,})",
                hint="nothing was left out and nothing was asked: "
                + (
                    "/reset begins a new conversation"
                    if self.turns
                    else "ask something shorter, or name a model with a longer context"
                ),
            )
        return tokens

    def room(self, prompt: list[int]) -> int:
        """How many tokens an answer to these can have."""
        return self.context_length - len(prompt)
