"""Whether anything that was found answers a query, or is only the nearest there is.

The match of an index with a query mixes two numbers that do not depend on how results are ranked:
the best cosine of a chunk with the query as it was asked, and the root of the share of the ideal
BM25 that the best chunk has. An answer exists where the match reaches a threshold, which was chosen
on questions with an answer and without; docs/search.md has the rates of error. Cosines of other
encoders lie elsewhere, so of them nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.retrieval.candidates import SearchedIndex

ANSWERS_FROM = 0.44
"""The match from which on an index answers a query."""
_COSINE = 0.6
"""The weight of the cosine; the words have the rest."""
_KNOWN_ENCODER = "all-minilm-l6-v2"


def match(model: str, closest: float, best_bm25: float, ideal: float) -> float | None:
    """How well an index answers a query, 0 to 1; None where the encoder is not a known one.

    closest: the best cosine.  best_bm25, ideal: those of the query.
    """
    if model.rpartition("/")[2].lower() != _KNOWN_ENCODER:
        return None
    return _COSINE * closest + (1.0 - _COSINE) * math.sqrt(best_bm25 / ideal)


def is_answered(asked: Sequence[SearchedIndex]) -> bool | None:
    """Whether one of the indexes answers the query; None where it is not known of all others."""
    if any(index.certain or (index.match or 0.0) >= ANSWERS_FROM for index in asked):
        return True
    return None if any(index.match is None for index in asked) else False


def nothing_answers(asked: Sequence[SearchedIndex]) -> str:
    """The note that nothing answers a query."""
    best = max((index.match or 0.0 for index in asked), default=0.0)
    return (
        f"nothing here answers this: the best match is {best:.2f}, and answers have "
        f"{ANSWERS_FROM:.2f} or more; the results are the nearest there is"
    )
