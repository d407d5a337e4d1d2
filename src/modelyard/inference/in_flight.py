"""A request on its way from the line to its end: what a scheduler knows of it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

from modelyard.inference.detokenizing import AnswerText
from modelyard.inference.generation import Generation, Request
from modelyard.inference.interfaces import LogitsWanted, Segment
from modelyard.inference.prefix_cache import Scope
from modelyard.inference.sampler import Draws


@dataclass(slots=True, eq=False)
class InFlight:
    """A request that waits, or has a row of the decoder."""

    number: int
    """Its place in the order of arrival; unique."""
    request: Request
    generation: weakref.ref[Generation]
    """The handle of whoever asked; dead when nobody holds it."""
    in_line: bool = False
    """Whether it is counted among those that wait for a row."""
    row: int = -1
    slot: int | None = None
    computed: int = 0
    """How many of `tokens`, from the first on, have their keys and values in the row."""
    tokens: list[int] = field(init=False)
    """The prompt, and the answer so far."""
    draws: Draws = field(init=False)
    text: AnswerText = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        self.draws = Draws(self.request.sampling)
        self.text = AnswerText(self.request.tokenizer, self.request.sampling)

    @property
    def organisation(self) -> str:
        return self.request.organisation

    @property
    def digest(self) -> str | None:
        """Of its adapter; None for the bare base."""
        return self.request.adapter.digest if self.request.adapter else None

    @property
    def scope(self) -> Scope:
        return Scope(self.organisation, self.digest)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        cancelled = self.request.cancelled
        return cancelled is not None and cancelled.is_set()

    @property
    def most_tokens(self) -> int:
        """How long prompt and answer can become together."""
        return len(self.request.prompt) + self.request.sampling.max_new_tokens

    @property
    def prompt_left(self) -> int:
        """How many tokens of the prompt are not computed; 0 or less once it decodes."""
        return len(self.request.prompt) - self.computed

    def next_segment(self, count: int) -> Segment:
        """Its next `count` tokens to compute; logits are wanted after the last one it has."""
        end = self.computed + count
        wanted: LogitsWanted = "last" if end == len(self.tokens) else "none"
        return Segment(self.row, self.tokens[self.computed : end], self.computed, self.slot, wanted)
