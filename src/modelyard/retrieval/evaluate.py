"""Evaluating a ranking: nDCG, recall and MRR by the dense, lexical and fused scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import Encoders
from modelyard.results.json_form import published
from modelyard.retrieval.evaluated_sets import (
    DEPTH,
    EvaluatedSet,
    Kind,
    found_documents,
    open_evaluated_sets,
)
from modelyard.retrieval.evaluation_set import EvaluationSet
from modelyard.retrieval.query import parse_query
from modelyard.retrieval.vectors import Floats, Rows

_RESAMPLES = 2_000

Rankings = Mapping[str, Mapping[str, Sequence[str]]]
"""For each score (dense, lexical, fused) the documents in its order, by query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over queries, with its 95% interval of a bootstrap."""

    value: float
    """The mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""

    @property
    def shown(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScores:
    """One measure of the rankings by each score."""

    dense: Estimate
    """By vectors alone."""
    lexical: Estimate = field(metadata=published("words"))
    """By BM25 alone."""
    fused: Estimate
    """By both, as `models search` ranks."""
    gain: Estimate
    """Fused minus the better of the other two, query by query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEvaluation:
    """How well one set of queries was answered."""

    name: str
    """The folder, or the index."""
    encoder: str
    """The model that made the vectors, as the config names it."""
    queries: int
    """How many were evaluated."""
    chunks: int = field(metadata=published("passages"))
    """How many chunks were searched."""
    dense_weight: float
    """The share of the dense score in the mix."""
    answers: int
    """How many chunks or documents the answers name."""
    unknown: tuple[str, ...]
    """Those of them that do not exist, and so cannot be found."""
    measures: Mapping[str, MeasuredScores]
    """By name: nDCG@10, recall@10, recall@100, MRR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEvaluations:
    """How well each set of queries was answered."""

    sets: tuple[SearchEvaluation, ...]
    """The folder, or each index of the project."""


def evaluate_search(
    project: Project,
    source: Path,
    *,
    qrels: Path | None = None,
    indexes: Sequence[str] = (),
    kind: Kind | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    encoders: Encoders | None = None,
    progress: Progress | None = None,
) -> list[SearchEvaluation]:
    """Evaluate the ranking with queries whose answers are known.

    source: a folder in BEIR's layout, or a file of queries for the project's own indexes, where a
    document's name is PATH or PATH:LINE.
    indexes: the indexes that are evaluated, or, for a folder, the one whose encoder is used;
    default: those of the groups that a search uses.
    Raises InvalidInput for files in another layout, and NoData when no query has an answer, or no
    answer exists.
    """
    progress = progress or Silent()
    with open_evaluated_sets(
        project,
        source,
        encoders=encoders or Encoders(project=project, progress=progress),
        progress=progress,
        qrels=qrels,
        indexes=indexes,
        kind=kind,
        environment=environment,
    ) as opened:
        found = [_evaluate(each, progress) for each in opened]
    if all(len(evaluation.unknown) == evaluation.answers for evaluation in found):
        names = ", ".join(evaluation.name for evaluation in found)
        raise NoData(
            f"no answer names a chunk of {names}: {', '.join(found[0].unknown[:3])} ...",
            hint="an answer is PATH or PATH:LINE as a result shows it, or the _id of a document",
        )
    return found


def _evaluate(asked: EvaluatedSet, progress: Progress) -> SearchEvaluation:
    rankings = _rank_queries(asked, progress)
    queries = asked.queries
    answers = {answer for id in queries.queries for answer in queries.qrels[id]}
    return SearchEvaluation(
        name=asked.name,
        encoder=asked.model,
        queries=len(queries.queries),
        chunks=len(asked.names),
        dense_weight=asked.dense_weight,
        answers=len(answers),
        unknown=tuple(sorted(answers.difference(*asked.names))),
        measures={
            label: _measure(measure, queries, rankings) for label, measure in MEASURES.items()
        },
    )


def _rank_queries(asked: EvaluatedSet, progress: Progress) -> Rankings:
    """The documents that each score ranks best for each query."""
    rankings: dict[str, dict[str, list[str]]] = {"dense": {}, "lexical": {}, "fused": {}}
    queries, snapshot = asked.queries, asked.snapshot
    fused = asked.order_by(asked.dense_weight)
    progress.begin("ask", len(queries.queries), "queries")
    for done, (id, text) in enumerate(queries.queries.items(), 1):
        query = parse_query(text)
        vector = asked.encoder.encode_query(query.text)
        bm25 = snapshot.postings.bm25(query.counts, asked.settings.title_weight)
        orders = {
            "fused": fused(query, vector),
            "dense": _order(snapshot.vectors.closeness(vector)),
            "lexical": _order(bm25, above=0.0),
        }
        for score, rows in orders.items():
            rankings[score][id] = found_documents(rows, asked.names, queries.qrels[id])
        progress.advance(done)
    progress.end()
    return rankings


def _order(scores: Floats, above: float = -np.inf) -> Rows:
    best = np.argsort(-scores, kind="stable")[: 10 * DEPTH]
    return best[scores[best] > above]


def ndcg(found: Sequence[str], grades: Mapping[str, float], depth: int = 10) -> float:
    """Discounted gain of the first results over the best possible, as in trec_eval."""
    gains = [grades.get(name, 0.0) for name in found[:depth]]
    best = sorted(grades.values(), reverse=True)[:depth]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[float]) -> float:
    places = np.log2(np.arange(2, len(gains) + 2))
    return float((np.array(gains) / places).sum())


def recall(found: Sequence[str], grades: Mapping[str, float], depth: int) -> float:
    """The share of the answers that is among the first results."""
    return len(set(found[:depth]) & set(grades)) / len(grades)


def reciprocal_rank(found: Sequence[str], grades: Mapping[str, float]) -> float:
    """One over the place of the first answer; 0 when it is not among the results."""
    return next((1 / place for place, name in enumerate(found, 1) if name in grades), 0.0)


MEASURES: Mapping[str, Callable[[Sequence[str], Mapping[str, float]], float]] = {
    "nDCG@10": ndcg,
    "recall@10": lambda found, grades: recall(found, grades, 10),
    "recall@100": lambda found, grades: recall(found, grades, 100),
    "MRR": reciprocal_rank,
}


def _measure(
    measure: Callable[[Sequence[str], Mapping[str, float]], float],
    queries: EvaluationSet,
    rankings: Rankings,
) -> MeasuredScores:
    values = {
        score: np.array([measure(found[id], queries.qrels[id]) for id in queries.queries])
        for score, found in rankings.items()
    }
    better = max(values["dense"], values["lexical"], key=lambda score: float(score.mean()))
    return MeasuredScores(
        dense=bootstrap(values["dense"]),
        lexical=bootstrap(values["lexical"]),
        fused=bootstrap(values["fused"]),
        gain=bootstrap(values["fused"] - better),
    )


def bootstrap(values: npt.NDArray[np.float64]) -> Estimate:
    """The mean of one value a query, with its 95% interval; the resamples are always the same."""
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))
