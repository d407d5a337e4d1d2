"""Ranking: one convex mix of two scores that each lie on an absolute scale.

dense   cosine of unit vectors, as it is.
words   BM25 over the BM25 of an ideal chunk, one that every term of the query fills. A term that
        no chunk has counts with the largest idf: a query that the index does not know gets
        little from its words by itself.

Neither side is scaled by its candidates, so scores of different queries and of different indexes
can be compared. Candidates are the best of both sides, and both scores are computed for each,
exactly, also where the dense candidates were found by a rough comparison (`vectors.py`).

Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009;
Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval, 2023; Rocchio, Relevance
Feedback in Information Retrieval, 1971.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.postings import BM25_K1, merge_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.retrieval.vectors import VectorTable

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_SAMPLE, _MARGIN = 8_192, 4
"""Scores that are looked at to say above which all of the best lie, four times too many."""
_SECOND_LOOK = 1_000
"""Chunks that the moved query is compared with: the nearest to the query as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one kind of index is ranked; chosen on other data than any that is judged here."""

    title_weight: float
    """How many times a word counts that stands in the title."""
    feedback_chunks: int
    """Best chunks that the query moves towards before it is asked again; 0 for none."""
    feedback_strength: float
    """How far it moves: the length of their direction beside the query's own."""


TEXT = Manner(title_weight=1.0, feedback_chunks=3, feedback_strength=0.3)
CODE = Manner(title_weight=4.0, feedback_chunks=0, feedback_strength=0.0)

_CODE_CHUNKERS = ("code", "keys", "shell", "openapi")


def manner_of(chunker: str) -> Manner:
    """How the chunks of this chunker are ranked: as code where titles are names, else as text."""
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
    """BM25 of a chunk that every term of the query fills, from the idf of each."""
    return max((BM25_K1 + 1) * sum(idf), 1e-6)


def rank(
    query: Floats,
    vectors: VectorTable,
    bm25: Floats,
    ideal: float,
    *,
    dense_weight: float,
    manner: Manner = TEXT,
    depth: int = 100,
    allowed: npt.NDArray[np.bool_] | None = None,
    named: Rows | None = None,
) -> Ranked:
    """The best chunks for a query.

    query: unit vector [d].  vectors: those of the chunks [n, d].  bm25: [n], 0 where no term
    stands.  ideal: the BM25 that `ideal_score` gives.  depth: candidates of each side.
    allowed: [n], what a filter lets through.  named: rows that are candidates whatever their
    scores.
    """
    among = None if allowed is None else np.flatnonzero(allowed)
    if named is not None and allowed is not None:
        named = named[allowed[named]]
    fixed = _best_of(bm25, depth, _saying_something(bm25, among))
    if named is not None:
        fixed = merge_rows(fixed, named)

    near = vectors.closeness(query)
    nearest = _best_of(near, max(depth, _SECOND_LOOK), among)
    rows = merge_rows(nearest[_top(near[nearest], depth)], fixed)
    ranked = _mix(rows, vectors.exact(rows, query), bm25, ideal, dense_weight)
    if manner.feedback_chunks and dense_weight > 0 and len(rows):
        moved = _moved(query, vectors.rows(ranked.rows[: manner.feedback_chunks]), manner)
        seen = merge_rows(nearest, rows)
        again = vectors.exact(seen, moved)
        rows = merge_rows(seen[_top(again, depth)], fixed)
        cosine = again[np.searchsorted(seen, rows)]
        ranked = _mix(rows, cosine, bm25, ideal, dense_weight)
    return ranked


def _moved(query: Floats, liked: Floats, manner: Manner) -> Floats:
    """The query, moved towards the mean of vectors [k, d]: unit vector [d]."""
    mean = liked.mean(axis=0)
    moved = query + manner.feedback_strength * mean / max(float(np.linalg.norm(mean)), 1e-9)
    unit: Floats = (moved / max(float(np.linalg.norm(moved)), 1e-9)).astype(np.float32)
    return unit


def _mix(rows: Rows, cosine: Floats, bm25: Floats, ideal: float, dense_weight: float) -> Ranked:
    words = bm25[rows]
    fused = dense_weight * cosine + (1.0 - dense_weight) * words / ideal
    order = np.argsort(-fused, kind="stable")
    return Ranked(rows=rows[order], dense=cosine[order], words=words[order], fused=fused[order])


def _saying_something(bm25: Floats, among: Rows | None) -> Rows:
    """The rows that have a term of the query."""
    return np.flatnonzero(bm25 > 0) if among is None else among[bm25[among] > 0]


def _best_of(scores: Floats, depth: int, among: Rows | None) -> Rows:
    """The rows of the best scores, of all or of some rows."""
    return _top(scores, depth) if among is None else among[_top(scores[among], depth)]


def _top(scores: Floats, depth: int) -> Rows:
    """The rows of the `depth` best scores, in no order."""
    if len(scores) <= depth:
        return np.arange(len(scores))
    likely = _likely_top(scores, depth)
    return likely[np.argpartition(scores[likely], len(likely) - depth)[-depth:]]


def _likely_top(scores: Floats, depth: int) -> Rows:
    """Rows that have the `depth` best scores among them: few of many, where a sample tells how."""
    sample = scores[:: len(scores) // _SAMPLE or 1]
    above = _MARGIN * depth * len(sample) // len(scores)
    if 0 < above < len(sample) // 2:
        likely = np.flatnonzero(scores > np.partition(sample, -above - 1)[-above - 1])
        if len(likely) >= depth:
            return likely
    return np.arange(len(scores))
