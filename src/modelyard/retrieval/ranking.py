"""Ranking: one convex mix of two scores that each lie on an absolute scale.

dense   cosine of unit vectors, as it is.
words   BM25 over the BM25 of an ideal passage, one that every term of the query fills. A term that
        no passage has counts with the largest idf: a query that the index does not know gets
        little from its words by itself.

Neither side is scaled by its candidates, so scores of different queries and of different domains
can be compared. Candidates are the best of both sides, and both scores are computed for each.

Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009;
Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval, 2023; Rocchio, Relevance
Feedback in Information Retrieval, 1971.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.postings import BM25_K1

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_SECOND_LOOK = 2_000
"""Passages that the moved query is compared with: the best of the query as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one kind of domain is ranked; chosen on other data than any that is judged here."""

    title_weight: float
    """How many times a word counts that stands in the title."""
    feedback_passages: int
    """Best passages that the query moves towards before it is asked again; 0 for none."""
    feedback_strength: float
    """How far it moves: the length of their direction beside the query's own."""


TEXT = Manner(title_weight=1.0, feedback_passages=3, feedback_strength=0.3)
CODE = Manner(title_weight=4.0, feedback_passages=0, feedback_strength=0.0)

_CODE_CHUNKERS = ("code", "keys", "shell", "openapi")


def manner_of(chunker: str) -> Manner:
    """How the passages of this chunker are ranked: as code where titles are names, else as text."""
    return CODE if chunker in _CODE_CHUNKERS else TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Candidates with their scores, best first; the arrays are float32 [candidates]."""

    rows: Rows
    """Their rows in the index."""
    dense: Floats
    """Cosine with the query, which feedback may have moved."""
    words: Floats
    """BM25."""
    fused: Floats
    """The mix of both."""

    def best(self, count: int) -> Ranked:
        """The first `count` of them."""
        return Ranked(
            rows=self.rows[:count],
            dense=self.dense[:count],
            words=self.words[:count],
            fused=self.fused[:count],
        )


def ideal_score(idf: Sequence[float]) -> float:
    """BM25 of a passage that every term of the query fills, from the idf of each."""
    return max((BM25_K1 + 1) * sum(idf), 1e-6)


def rank(
    query: Floats,
    vectors: Floats,
    bm25: Floats,
    ideal: float,
    *,
    dense_weight: float,
    manner: Manner = TEXT,
    depth: int = 100,
    allowed: npt.NDArray[np.bool_] | None = None,
    named: Rows | None = None,
) -> Ranked:
    """The best passages for a query.

    query: unit vector [d].  vectors: unit rows [n, d].  bm25: [n], 0 where no term stands.
    ideal: the BM25 that `ideal_score` gives.  allowed: [n], what a filter lets through.
    named: rows that are candidates whatever their scores.
    """
    cosine = vectors @ query
    ranked = _mix(cosine, bm25, ideal, dense_weight, depth, allowed, named)
    if manner.feedback_passages and dense_weight > 0 and len(ranked.rows):
        liked = vectors[ranked.rows[: manner.feedback_passages]].mean(axis=0)
        moved = query + manner.feedback_strength * liked / max(float(np.linalg.norm(liked)), 1e-9)
        moved /= max(float(np.linalg.norm(moved)), 1e-9)
        again = _second_cosine(moved.astype(np.float32), vectors, cosine, ranked.rows)
        ranked = _mix(again, bm25, ideal, dense_weight, depth, allowed, named)
    return ranked


def _second_cosine(moved: Floats, vectors: Floats, cosine: Floats, candidates: Rows) -> Floats:
    if len(cosine) <= _SECOND_LOOK:
        return vectors @ moved
    rows = np.union1d(_top(cosine, _SECOND_LOOK), candidates)
    again = np.full(len(cosine), -1.0, np.float32)
    again[rows] = vectors[rows] @ moved
    return again


def _mix(
    cosine: Floats,
    bm25: Floats,
    ideal: float,
    dense_weight: float,
    depth: int,
    allowed: npt.NDArray[np.bool_] | None,
    named: Rows | None,
) -> Ranked:
    if allowed is not None:
        places = np.flatnonzero(allowed)
        rows = places[_candidates(cosine[places], bm25[places], depth)]
        named = None if named is None else named[allowed[named]]
    else:
        rows = _candidates(cosine, bm25, depth)
    if named is not None:
        rows = np.union1d(rows, named)
    fused = dense_weight * cosine[rows] + (1.0 - dense_weight) * bm25[rows] / ideal
    order = np.argsort(-fused, kind="stable")
    rows = rows[order]
    return Ranked(rows=rows, dense=cosine[rows], words=bm25[rows], fused=fused[order])


def _candidates(cosine: Floats, bm25: Floats, depth: int) -> Rows:
    if len(cosine) <= depth:
        return np.arange(len(cosine))
    by_words = _top(bm25, depth)
    return np.union1d(_top(cosine, depth), by_words[bm25[by_words] > 0])


def _top(scores: Floats, depth: int) -> Rows:
    if len(scores) <= depth:
        return np.arange(len(scores))
    return np.argpartition(-scores, depth)[:depth]
