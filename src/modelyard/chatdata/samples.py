"""Rows as a person can check them: their text, in pieces that are learned or only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow


@dataclass(frozen=True, slots=True)
class Sample:
    """One row's text as the model sees it, control tokens included."""

    pieces: tuple[tuple[str, bool], ...]
    """Neighbouring texts, each with whether its tokens are learned."""
    source: str
    """Where the row stands, such as `train.jsonl:12`."""


def build_samples(rows: Sequence[TokenRow], tokenizer: ChatTokenizer, n: int) -> list[Sample]:
    """`n` rows, spread evenly over all (fewer when there are fewer)."""
    count = min(n, len(rows))
    return [_sample(rows[index * len(rows) // count], tokenizer) for index in range(count)]


def _sample(row: TokenRow, tokenizer: ChatTokenizer) -> Sample:
    changes = np.flatnonzero(np.diff(row.trained)) + 1
    pieces: list[tuple[str, bool]] = []
    shown = ""
    for start, end in zip([0, *changes], [*changes, len(row.trained)], strict=True):
        # Some tokenizers drop a leading space, so a piece is what it adds to the text so far.
        text = tokenizer.decode(row.input_ids[:end], skip_special_tokens=False)
        pieces.append((text[len(shown) :], bool(row.trained[start])))
        shown = text
    return Sample(tuple(pieces), row.source)
