"""Whether two models agree: the likeliest next token at each place of some answers.

Does not know where conversations come from, nor how much agreement is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations
from modelyard.inference.engine import Engine

_QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days does a week have?", "A week has seven days, from Monday to Sunday."),
    ("Write one sentence about the sea.", "The sea is wide, and it is never still."),
    ("What is two plus three?", "Two plus three is five."),
    ("Name three colours.", "Red, green and blue are three colours."),
    ("What does a baker do?", "A baker makes bread, rolls and cakes, and sells them."),
    ("Translate 'good morning' into French.", "In French, good morning is bonjour."),
    ("How do I boil an egg?", "Put it into boiling water for eight minutes, then cool it."),
)
BUILT_IN = tuple(
    Conversation((Message("user", question), Message("assistant", answer)), "built in", {})
    for question, answer in _QUESTIONS
)
"""Conversations for when no dataset is available; no adapter was trained on them."""


@dataclass(frozen=True, slots=True)
class LogitChange:
    """How far an adapter moves the logits of its base."""

    largest: float
    """The largest absolute difference of two logits."""
    prompts: int
    """On how many prompts."""


def answer_rows(
    conversations: Sequence[Conversation], tokenizer: ChatTokenizer, *, max_length: int = 1024
) -> tuple[TokenRow, ...]:
    """The conversations as tokens with their answers marked; those that cannot be are left out."""
    return tokenize_conversations(conversations, tokenizer, max_length=max_length).rows


@torch.inference_mode()
def likeliest_tokens(engine: Engine, rows: Sequence[TokenRow]) -> list[int]:
    """The likeliest next token before each token of each row's answers, in order."""
    found: list[int] = []
    for row in rows:
        ids = torch.from_numpy(row.input_ids).long()[None].to(engine.model.device)
        logits = engine.model(input_ids=ids, use_cache=False).logits[0, :-1]
        places = torch.from_numpy(row.trained[1:]).to(logits.device)
        found += logits[places].argmax(-1).tolist()
    return found


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """The share of equal tokens, 0 to 1."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


@torch.inference_mode()
def measure_logit_change(engine: Engine) -> LogitChange:
    """How far the engine's adapter moves the logits that follow the built-in questions."""
    largest = 0.0
    for conversation in BUILT_IN:
        prompt = engine.tokenizer.encode_prompt(conversation.messages[:1])
        ids = torch.tensor([prompt], device=engine.model.device)
        tuned = engine.model(input_ids=ids, use_cache=False).logits
        with engine.without_adapter():
            bare = engine.model(input_ids=ids, use_cache=False).logits
        largest = max(largest, float((tuned.float() - bare.float()).abs().max()))
    return LogitChange(largest, len(BUILT_IN))
