"""Ranking: a weighted mean of two scores, each on an absolute scale.

dense     cosine of unit vectors.
lexical   BM25 divided by the BM25 of an ideal chunk, which is full of every term of the query. A
          term that no chunk has counts with the largest idf, so a query whose terms the index does
          not have gets a low lexical score.

Neither score is scaled by the candidates, so scores of different queries and of different indexes
can be compared. Candidates are the best by either score, and both scores are computed exactly for
each, also where the dense candidates were found by an approximate comparison (`vectors.py`).

Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009;
Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval, 2023; Rocchio, Relevance
Feedback in Information Retrieval, 1971.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.postings import merge_rows

if TYPE_CHECKING:
    from modelyard.retrieval.vectors import Floats, Rows, VectorTable

_SAMPLE, _MARGIN = 8_192, 4
"""Scores sampled to estimate a threshold for the best ones, with four times as many above it."""
_FEEDBACK_CHUNKS = 1_000
"""Chunks that the moved query is compared with: the nearest to the original query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingSettings:
    """How one kind of index is ranked; chosen on other data than the evaluation sets."""

    title_weight: float
    """How many times a term in the title counts."""
    feedback_chunks: int
    """Best chunks that the query moves towards before the second ranking; 0 for no second one."""
    feedback_strength: float
    """How far it moves, in units of its own length."""


TEXT = RankingSettings(title_weight=1.0, feedback_chunks=3, feedback_strength=0.3)
CODE = RankingSettings(title_weight=4.0, feedback_chunks=0, feedback_strength=0.0)

_CODE_CHUNKERS = ("code", "keys", "shell", "openapi")


def ranking_settings(chunker: str) -> RankingSettings:
    """The settings for chunks of this chunker: CODE where titles are names, else TEXT."""
    return CODE if chunker in _CODE_CHUNKERS else TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Candidates with their scores, best first; the arrays are float32 [candidates]."""

    rows: Rows
    """Their rows in the index."""
    dense: Floats
    """Cosine with the query, which feedback may have moved."""
    lexical: Floats
    """BM25."""
    fused: Floats
    """The weighted mean of both."""

    def best(self, count: int) -> Ranked:
        """The first `count` of them."""
        return Ranked(
            rows=self.rows[:count],
            dense=self.dense[:count],
            lexical=self.lexical[:count],
            fused=self.fused[:count],
        )


def rank(
    query: Floats,
    vectors: VectorTable,
    bm25: Floats,
    ideal: float,
    *,
    dense_weight: float,
    settings: RankingSettings = TEXT,
    depth: int = 100,
    allowed: npt.NDArray[np.bool_] | None = None,
    named: Rows | None = None,
) -> Ranked:
    """The best chunks for a query.

    query: unit vector [d].  vectors: those of the chunks [n, d].  bm25: [n], 0 for a chunk
    without any term.  ideal: the BM25 of an ideal chunk.  depth: candidates by each score.
    allowed: [n], what a filter lets through.  named: rows that are candidates whatever their
    scores.
    """
    among = None if allowed is None else np.flatnonzero(allowed)
    if named is not None and allowed is not None:
        named = named[allowed[named]]
    matching = np.flatnonzero(bm25 > 0) if among is None else among[bm25[among] > 0]
    fixed = _best_of(bm25, depth, matching)
    if named is not None:
        fixed = merge_rows(fixed, named)

    near = vectors.closeness(query)
    nearest = _best_of(near, max(depth, _FEEDBACK_CHUNKS), among)
    rows = merge_rows(nearest[_top(near[nearest], depth)], fixed)
    ranked = _mix(rows, vectors.exact(rows, query), bm25, ideal, dense_weight)
    if settings.feedback_chunks and dense_weight > 0 and len(rows):
        best = vectors.rows(ranked.rows[: settings.feedback_chunks])
        compared = merge_rows(nearest, rows)
        again = vectors.exact(compared, _move(query, best, settings.feedback_strength))
        rows = merge_rows(compared[_top(again, depth)], fixed)
        cosine = again[np.searchsorted(compared, rows)]
        ranked = _mix(rows, cosine, bm25, ideal, dense_weight)
    return ranked


def _move(query: Floats, best: Floats, strength: float) -> Floats:
    """The query moved towards the mean of vectors [k, d]: unit vector [d]."""
    mean = best.mean(axis=0)
    moved = query + strength * mean / max(float(np.linalg.norm(mean)), 1e-9)
    unit: Floats = (moved / max(float(np.linalg.norm(moved)), 1e-9)).astype(np.float32)
    return unit


def _mix(rows: Rows, cosine: Floats, bm25: Floats, ideal: float, dense_weight: float) -> Ranked:
    lexical = bm25[rows]
    fused = dense_weight * cosine + (1.0 - dense_weight) * lexical / ideal
    order = np.argsort(-fused, kind="stable")
    return Ranked(rows=rows[order], dense=cosine[order], lexical=lexical[order], fused=fused[order])


def _best_of(scores: Floats, depth: int, among: Rows | None) -> Rows:
    """The rows of the best scores, of all or of some rows."""
    return _top(scores, depth) if among is None else among[_top(scores[among], depth)]


def _top(scores: Floats, depth: int) -> Rows:
    """The rows of the `depth` best scores, in any order."""
    if len(scores) <= depth:
        return np.arange(len(scores))
    likely = _likely_top(scores, depth)
    return likely[np.argpartition(scores[likely], len(likely) - depth)[-depth:]]


def _likely_top(scores: Floats, depth: int) -> Rows:
    """Rows that include the `depth` best scores: few rows, if a sample gives a threshold."""
    sample = scores[:: len(scores) // _SAMPLE or 1]
    above = _MARGIN * depth * len(sample) // len(scores)
    if 0 < above < len(sample) // 2:
        likely = np.flatnonzero(scores > np.partition(sample, -above - 1)[-above - 1])
        if len(likely) >= depth:
            return likely
    return np.arange(len(scores))
