"""Which side of a dataset a row lies on: train or evaluation.

The side depends on nothing but the row's own first question, so a row stays where it is when the
file grows, and the same question never lies on both sides, however it is answered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from modelyard.chatdata.conversation import Conversation

DEFAULT_EVALUATION_SHARE = 0.1


def split_conversations(
    conversations: Sequence[Conversation], evaluation_share: float = DEFAULT_EVALUATION_SHARE
) -> tuple[list[Conversation], list[Conversation]]:
    """Train and evaluation rows, in order. A larger share only moves rows towards evaluation."""
    train: list[Conversation] = []
    evaluation: list[Conversation] = []
    for conversation in conversations:
        side = evaluation if split_position(conversation) < evaluation_share else train
        side.append(conversation)
    return train, evaluation


def split_position(conversation: Conversation) -> float:
    """A number in [0, 1) from the first question; case, whitespace and punctuation do not count."""
    question = conversation.first_question.casefold()
    words = re.findall(r"\w+", question) or [question]
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return int.from_bytes(digest[:7]) / 256**7
