"""Tuning the weight of the dense score on sets of queries whose answers are known.

A weight that is chosen on a set looks better on it than it is. So each set also gets the weight
that is best on the other sets of its kind, and what that changes beside the config's weight is
measured on queries that had no part in the choice (leave-one-out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import Encoders
from modelyard.retrieval.evaluate import Estimate, bootstrap, ndcg
from modelyard.retrieval.evaluated_sets import (
    EvaluatedSet,
    Kind,
    found_documents,
    open_evaluated_sets,
)
from modelyard.retrieval.query import parse_query

TRIED = tuple(tenth / 10 for tenth in range(11))
"""The weights that are tried besides that of the config."""

_Values = Mapping[float, npt.NDArray[np.float64]]
"""nDCG@10 of each query, by weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightScore:
    """What one weight gives."""

    dense_weight: float
    """The share of the dense score."""
    ndcg: float
    """The mean nDCG@10 of the set's queries with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedSet:
    """What the weights give on one set."""

    name: str
    """The folder, or the index."""
    kind: Kind
    """Whether it is ranked as prose or as code."""
    queries: int
    """How many were asked."""
    dense_weight: float
    """The weight that the config gives it."""
    tried: tuple[WeightScore, ...]
    """Each weight that was tried, the smallest first."""
    best: float
    """The weight that is best on this set itself."""
    chosen_by_others: float | None
    """The weight that is best on the other sets of its kind; null where there are none."""
    gain: Estimate | None
    """nDCG@10 with the weight that the others chose, less that with the config's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTuning:
    """What the weights give on several sets, and which weight is best on all of a kind."""

    sets: tuple[TunedSet, ...]
    """Each set."""
    best: Mapping[str, float]
    """For each kind, the weight with the best mean over its sets; each set counts the same."""


def tune_weights(
    project: Project,
    sources: Sequence[Path],
    *,
    qrels: Path | None = None,
    indexes: Sequence[str] = (),
    kind: Kind | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    encoders: Encoders | None = None,
    progress: Progress | None = None,
) -> WeightTuning:
    """Try weights of the dense score on each set, and write nothing.

    The sets and the errors are those of `evaluate_search`. `fusion.exact_dense`, the weight for
    queries with known names, stays as it is.
    """
    progress = progress or Silent()
    encoders = encoders or Encoders(project=project, progress=progress)
    measured: list[tuple[EvaluatedSet, _Values]] = []
    for source in sources:
        with open_evaluated_sets(
            project,
            source,
            encoders=encoders,
            progress=progress,
            qrels=qrels,
            indexes=indexes,
            kind=kind,
            environment=environment,
        ) as opened:
            measured += [(each, _measure_weights(each, progress)) for each in opened]
    return WeightTuning(
        sets=tuple(
            _tuned(each, values, [other for _, other in _of_kind(measured, each.kind, but=each)])
            for each, values in measured
        ),
        best={
            kind: _best([values for _, values in _of_kind(measured, kind)])
            for kind in dict.fromkeys(each.kind for each, _ in measured)
        },
    )


def _of_kind(
    measured: Sequence[tuple[EvaluatedSet, _Values]], kind: Kind, *, but: EvaluatedSet | None = None
) -> list[tuple[EvaluatedSet, _Values]]:
    return [pair for pair in measured if pair[0].kind == kind and pair[0] is not but]


def _measure_weights(asked: EvaluatedSet, progress: Progress) -> _Values:
    """nDCG@10 of each query with each weight, the config's included."""
    weights = sorted({*TRIED, asked.dense_weight})
    orders = {weight: asked.order_by(weight) for weight in weights}
    values: dict[float, list[float]] = {weight: [] for weight in weights}
    queries = asked.queries
    progress.begin("ask", len(queries.queries), "queries")
    for done, (id, text) in enumerate(queries.queries.items(), 1):
        query = parse_query(text)
        vector = asked.encoder.encode_query(query.text)
        grades = queries.qrels[id]
        for weight, order in orders.items():
            found = found_documents(order(query, vector), asked.names, grades)
            values[weight].append(ndcg(found, grades))
        progress.advance(done)
    progress.end()
    return {weight: np.array(each) for weight, each in values.items()}


def _tuned(asked: EvaluatedSet, values: _Values, others: Sequence[_Values]) -> TunedSet:
    chosen = _best(others) if others else None
    return TunedSet(
        name=asked.name,
        kind=asked.kind,
        queries=len(asked.queries.queries),
        dense_weight=asked.dense_weight,
        tried=tuple(
            WeightScore(dense_weight=weight, ndcg=float(each.mean()))
            for weight, each in values.items()
        ),
        best=_best([values]),
        chosen_by_others=chosen,
        gain=None if chosen is None else bootstrap(values[chosen] - values[asked.dense_weight]),
    )


def _best(sets: Sequence[_Values]) -> float:
    """The weight among TRIED with the best mean over sets; the largest of equals."""
    return max(
        TRIED,
        key=lambda weight: (np.mean([float(values[weight].mean()) for values in sets]), weight),
    )
