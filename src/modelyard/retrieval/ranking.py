"""Ranking: a weighted mean of two scores, each on an absolute scale.

dense     cosine of unit vectors.
crowding  how much nearer its neighbours are to a chunk than to a usual one. What is near to
          everything answers little, so a part of it is taken from the dense score.
lexical   BM25 divided by the geometric mean of two: the best BM25 in the index, and that of an
          ideal chunk, which is full of every term of the query. The best chunk so gets the square
          root of its share of the ideal. By the ideal alone the scores would shrink as a question
          grows, since no chunk has all of its terms; by the best alone a query that nothing answers
          would look like one that is answered. A term that no chunk has counts with the largest
          idf.

So scores of different queries and of different indexes can be compared. Candidates are the best by
either score, and both scores are computed exactly for each, also where the dense candidates were
found by an approximate comparison (`vectors.py`).

Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009;
Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval, 2023; Rocchio, Relevance
Feedback in Information Retrieval, 1971; Radovanovic et al., Hubs in Space, 2010; Conneau et al.,
Word Translation Without Parallel Data, 2018 (CSLS, the correction for crowding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.postings import merge_rows

if TYPE_CHECKING:
    from modelyard.retrieval.vectors import Floats, Rows, VectorTable

_SAMPLE, _MARGIN = 8_192, 4
"""Scores sampled to estimate a threshold for the best ones, with four times as many above it."""
_COMPARED_CHUNKS = 1_000
"""Chunks whose cosine with the query, and with the moved one, is exact: those nearest to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingSettings:
    """How one kind of index is ranked; chosen on other data than the evaluation sets."""

    title_weight: float
    """How many times a term in the title counts."""
    feedback_chunks: int
    """Best chunks that the query moves towards before the second ranking; 0 for no second one."""
    feedback_strength: float
    """How far it moves, in units of its own length."""
    by_file: bool = False
    """Whether names, paths and other chunks of a file count (`code_files.py`)."""


TEXT = RankingSettings(title_weight=2.0, feedback_chunks=2, feedback_strength=0.5)
CODE = RankingSettings(title_weight=4.0, feedback_chunks=0, feedback_strength=0.0, by_file=True)

CROWDING_WEIGHT = 0.3
"""How much of its crowding is taken from the dense score of a chunk."""
_CORRECTED = 24
"""The best so many are corrected for crowding."""

_CODE_CHUNKERS = ("code", "keys", "shell", "openapi")


_PER_FILE = {"code": 1, "shell": 1, "markdown": 2, "paragraphs": 2, "auto": 2}


def results_per_file(chunker: str) -> int | None:
    """Results of one file before those of others are shown; None where each chunk is a thing."""
    return _PER_FILE.get(chunker)


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
    crowding: Floats
    """How crowded its neighbourhood is; 0 for those far from the best."""
    lexical: Floats
    """BM25."""
    fused: Floats
    """The weighted mean of both."""
    lexical_scale: float
    """What BM25 is divided by."""
    closest: float = 0.0
    """The best cosine with the query as it was asked, before feedback; 0 without candidates."""

    def best(self, count: int) -> Ranked:
        """The first `count` of them."""
        return Ranked(
            rows=self.rows[:count],
            dense=self.dense[:count],
            crowding=self.crowding[:count],
            lexical=self.lexical[:count],
            fused=self.fused[:count],
            lexical_scale=self.lexical_scale,
            closest=self.closest,
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

    scale = lexical_scale(bm25, ideal)
    near = vectors.closeness(query)
    compared = merge_rows(_best_of(near, max(depth, _COMPARED_CHUNKS), among), fixed)
    singles = vectors.rows(compared)
    cosine = singles @ query
    closest = float(cosine.max(initial=0.0))
    chosen = _chosen(compared, cosine, depth, fixed)
    ranked = _mix(compared[chosen], cosine[chosen], bm25, scale, dense_weight)
    if settings.feedback_chunks and dense_weight > 0 and len(compared):
        best = singles[np.searchsorted(compared, ranked.rows[: settings.feedback_chunks])]
        cosine = singles @ _move(query, best, settings.feedback_strength)
        chosen = _chosen(compared, cosine, depth, fixed)
        ranked = _mix(compared[chosen], cosine[chosen], bm25, scale, dense_weight)
    return replace(_correct(ranked, vectors, dense_weight), closest=closest)


def _chosen(compared: Rows, cosine: Floats, depth: int, fixed: Rows) -> Rows:
    """The places of the nearest of the rows that were compared, and of the fixed ones."""
    return merge_rows(_top(cosine, depth), np.searchsorted(compared, fixed))


def lexical_scale(bm25: Floats, ideal: float) -> float:
    """What BM25 is divided by: the geometric mean of the ideal and of the best there is."""
    best = float(bm25.max(initial=0.0))
    return math.sqrt(ideal * best) if best > 0 else ideal


def _correct(ranked: Ranked, vectors: VectorTable, dense_weight: float) -> Ranked:
    """The best of them again, corrected for how crowded their neighbourhoods are."""
    best = ranked.rows[:_CORRECTED]
    if dense_weight == 0 or not len(best):
        return ranked
    crowding = np.zeros(len(ranked.rows), np.float32)
    crowding[: len(best)] = vectors.crowding(best)
    fused = ranked.fused - np.float32(dense_weight * CROWDING_WEIGHT) * crowding
    order = np.argsort(-fused, kind="stable")
    return Ranked(
        rows=ranked.rows[order],
        dense=ranked.dense[order],
        crowding=crowding[order],
        lexical=ranked.lexical[order],
        fused=fused[order],
        lexical_scale=ranked.lexical_scale,
    )


def _move(query: Floats, best: Floats, strength: float) -> Floats:
    """The query moved towards the mean of vectors [k, d]: unit vector [d]."""
    mean = best.mean(axis=0)
    moved = query + strength * mean / max(float(np.linalg.norm(mean)), 1e-9)
    unit: Floats = (moved / max(float(np.linalg.norm(moved)), 1e-9)).astype(np.float32)
    return unit


def _mix(rows: Rows, cosine: Floats, bm25: Floats, scale: float, dense_weight: float) -> Ranked:
    lexical = bm25[rows]
    fused = dense_weight * cosine + (1.0 - dense_weight) * lexical / scale
    order = np.argsort(-fused, kind="stable")
    return Ranked(
        rows=rows[order],
        dense=cosine[order],
        crowding=np.zeros(len(rows), np.float32),
        lexical=lexical[order],
        fused=fused[order],
        lexical_scale=scale,
    )


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
