"""Evaluating a ranking: nDCG, recall and MRR of the dense, lexical and fused scores, side by side.

A public set has a corpus, which gets its own index (evaluation_set.py); a project's own queries are
evaluated on the project's indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import Encoders, TextEncoder
from modelyard.results.json_form import published
from modelyard.retrieval.candidates import find_candidates
from modelyard.retrieval.evaluation_set import (
    EvaluationSet,
    corpus_index,
    detect_kind,
    find_qrels,
    load_corpus,
    load_evaluation_set,
)
from modelyard.retrieval.index_snapshot import IndexSnapshot, OpenedIndex
from modelyard.retrieval.indexes import (
    SearchIndex,
    choose_indexes,
    load_search_settings,
    update_command,
    where_to_declare,
)
from modelyard.retrieval.query import Query, parse_query
from modelyard.retrieval.ranking import CODE, TEXT, RankingSettings, rank, ranking_settings
from modelyard.retrieval.vectors import Floats, Rows

TEXT_DENSE = 0.6
CODE_DENSE = 0.85
_DEPTH = 100
_RESAMPLES = 2_000

Names = Sequence[tuple[str, ...]]
"""The names by which answers can mean each chunk: its document or file first, then PATH:LINE."""
Order = Callable[[Query, Floats], Rows]
"""The chunks for a query and its vector, best first."""
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
    kind: Literal["text", "code"] | None = None,
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
    encoders = encoders or Encoders(project=project, progress=progress)
    if not source.exists():
        raise InvalidInput("cannot be read: there is no such file or folder", where=str(source))
    declared = load_search_settings(project, environment)
    groups = declared.rules.groups if declared.rules else ()
    chosen = choose_indexes(declared.indexes, indexes, groups=groups)
    if source.is_dir():
        queries = load_evaluation_set(source / "queries.jsonl", qrels or find_qrels(source))
        settings = _choose_encoder(chosen, indexes, environment)
        corpus = load_corpus(source / "corpus.jsonl")
        kind = kind or detect_kind(corpus)
        ranking = TEXT if kind == "text" else CODE
        weight = _choose_weight(chosen, indexes, kind)
        with corpus_index(project, corpus, kind, settings, encoders, progress) as snapshot:
            sources = snapshot.sources(np.arange(len(snapshot)))
            found = [
                _evaluate(
                    source.resolve().name,
                    queries,
                    snapshot,
                    [(sources[row].path,) for row in range(len(snapshot))],
                    encoders.open(settings),
                    model=settings.model,
                    weight=weight,
                    settings=ranking,
                    order=_order_of_mix(snapshot, weight, ranking),
                    progress=progress,
                )
            ]
    else:
        queries = load_evaluation_set(source, qrels or find_qrels(source.parent))
        found = [
            _evaluate_index(index, queries, encoders, progress, environment)
            for index in chosen
            if index.readable_path.is_file()
        ]
    if not found:
        raise NoData(
            f"no index yet in {environment}: "
            f"{', '.join(index.label for index in chosen) or 'none is declared'}",
            hint=f"`{update_command(indexes, environment)}` makes what is missing",
        )
    if all(len(evaluation.unknown) == evaluation.answers for evaluation in found):
        names = ", ".join(evaluation.name for evaluation in found)
        raise NoData(
            f"no answer names a chunk of {names}: {', '.join(found[0].unknown[:3])} ...",
            hint="an answer is PATH or PATH:LINE as a result shows it, or the _id of a document",
        )
    return found


def _choose_weight(
    chosen: Sequence[SearchIndex], named: Sequence[str], kind: Literal["text", "code"]
) -> float:
    """The dense weight for a corpus: of the index that was named, or the first of its kind."""
    of_kind = [
        index
        for index in chosen
        if named or ranking_settings(index.settings.chunker).by_file == (kind == "code")
    ]
    if of_kind:
        return of_kind[0].fusion.dense
    return TEXT_DENSE if kind == "text" else CODE_DENSE


def _choose_encoder(
    chosen: Sequence[SearchIndex], named: Sequence[str], environment: str
) -> Encoder:
    """The encoder that is evaluated on a corpus: the named index's, else the first."""
    if not chosen:
        raise NoData(
            f"no search index is declared in {environment}, so there is no encoder to evaluate",
            hint=where_to_declare(environment),
        )
    if named and len({(index.encoder.source, index.encoder.model) for index in chosen}) > 1:
        raise InvalidInput(
            "these indexes have several encoders, and a folder is evaluated with one",
            hint="name one --domain",
        )
    return chosen[0].encoder


def _evaluate_index(
    index: SearchIndex,
    queries: EvaluationSet,
    encoders: Encoders,
    progress: Progress,
    environment: str,
) -> SearchEvaluation:
    with closing(OpenedIndex(index.readable_path)) as opened, opened.reading() as snapshot:
        if snapshot.meta.encoder != encoders.fingerprint(index.encoder):
            raise InvalidInput(
                f"the index {index.label} was made by another encoder",
                hint=f"rebuild it with `{update_command([index.label], environment)}`",
            )
        return _evaluate(
            index.label,
            queries,
            snapshot,
            _names_of_chunks(snapshot, queries),
            encoders.open(index.encoder),
            model=index.encoder.model,
            weight=index.fusion.dense,
            settings=ranking_settings(index.settings.chunker),
            order=_order_of_search(index, snapshot),
            progress=progress,
        )


def _names_of_chunks(snapshot: IndexSnapshot, queries: EvaluationSet) -> Names:
    """PATH, and PATH:LINE for each line of the chunk that an answer names."""
    wanted: dict[str, set[int]] = {}
    for grades in queries.qrels.values():
        for name in grades:
            path, _, line = name.rpartition(":")
            if path and line.isdigit():
                wanted.setdefault(path, set()).add(int(line))
    names = []
    for chunk in snapshot.chunks(np.arange(len(snapshot))):
        lines = wanted.get(chunk.path, ())
        inside = [line for line in lines if chunk.first_line <= line <= chunk.last_line]
        names.append((chunk.path, *(f"{chunk.path}:{line}" for line in inside)))
    return names


def _evaluate(
    name: str,
    queries: EvaluationSet,
    snapshot: IndexSnapshot,
    names: Names,
    encoder: TextEncoder,
    *,
    model: str,
    weight: float,
    settings: RankingSettings,
    order: Order,
    progress: Progress,
) -> SearchEvaluation:
    rankings = _rank_queries(queries, snapshot, names, encoder, settings, order, progress)
    answers = {answer for id in queries.queries for answer in queries.qrels[id]}
    return SearchEvaluation(
        name=name,
        encoder=model,
        queries=len(queries.queries),
        chunks=len(names),
        dense_weight=weight,
        answers=len(answers),
        unknown=tuple(sorted(answers.difference(*names))),
        measures={
            label: _measure(measure, queries, rankings) for label, measure in MEASURES.items()
        },
    )


def _rank_queries(
    queries: EvaluationSet,
    snapshot: IndexSnapshot,
    names: Names,
    encoder: TextEncoder,
    settings: RankingSettings,
    order: Order,
    progress: Progress,
) -> Rankings:
    """The documents that each score ranks best for each query."""
    rankings: dict[str, dict[str, list[str]]] = {"dense": {}, "lexical": {}, "fused": {}}
    progress.begin("ask", len(queries.queries), "queries")
    for done, (id, text) in enumerate(queries.queries.items(), 1):
        query = parse_query(text)
        vector = encoder.encode_query(query.text)
        bm25 = snapshot.postings.bm25(query.counts, settings.title_weight)
        orders = {
            "fused": order(query, vector),
            "dense": _order(snapshot.vectors.exact(np.arange(len(snapshot)), vector)),
            "lexical": _order(bm25, above=0.0),
        }
        for score, rows in orders.items():
            rankings[score][id] = _documents(rows, names, queries.qrels[id])
        progress.advance(done)
    progress.end()
    return rankings


def _order_of_mix(snapshot: IndexSnapshot, weight: float, settings: RankingSettings) -> Order:
    """By the fused score alone: the documents of a corpus have neither names nor files."""

    def order(query: Query, vector: Floats) -> Rows:
        return rank(
            vector,
            snapshot.vectors,
            snapshot.postings.bm25(query.counts, settings.title_weight),
            snapshot.postings.ideal_bm25(query.counts),
            dense_weight=weight,
            settings=settings,
            depth=2 * _DEPTH,
        ).rows

    return order


def _order_of_search(index: SearchIndex, snapshot: IndexSnapshot) -> Order:
    """As `models search` orders the chunks of this index, boosts included."""

    def order(query: Query, vector: Floats) -> Rows:
        _, found = find_candidates(
            index, snapshot, query, vector, filters={}, depth=2 * _DEPTH, wanted=10 * _DEPTH
        )
        best = sorted(found, key=lambda candidate: (-candidate.scores.final, candidate.row))
        return np.array([candidate.row for candidate in best], np.int64)

    return order


def _order(scores: Floats, above: float = -np.inf) -> Rows:
    best = np.argsort(-scores, kind="stable")[: 10 * _DEPTH]
    return best[scores[best] > above]


def _documents(rows: Rows, names: Names, answers: Mapping[str, float]) -> list[str]:
    """The documents of these chunks, each once, in the order of its best chunk.

    A chunk stands for the answers of the query that it matches, else for its file.
    """
    found: dict[str, None] = {}
    for row in rows.tolist():
        matched = [name for name in names[row] if name in answers]
        found |= dict.fromkeys(matched or names[row][:1])
    return list(found)[:_DEPTH]


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
