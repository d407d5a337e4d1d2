"""Reranking: a cross-encoder scores the best results again, and they are ordered by its scores.

A cross-encoder's scores have no fixed scale. The logistic function maps them to 0 to 1, the range
of the fused score, so that boosts have the same effect before and after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders.cross_encoder import CrossEncoder, open_cross_encoder
from modelyard.retrieval.candidates import Candidate, Hit, apply_boosts
from modelyard.retrieval.query import Query


class Reranker:
    """Orders the best results again."""

    def __init__(self, cross_encoder: CrossEncoder, *, name: str, count: int) -> None:
        """name: as the config has it.  count: how many results it scores."""
        self.name, self.count = name, count
        self._cross_encoder = cross_encoder

    def order(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The first `count` by the cross-encoder's scores; the others follow in their old order."""
        first = hits[: self.count]
        scores = self._cross_encoder.score(query.text, [_text_of(hit.best) for hit in first])
        scored = [_with_score(hit, float(score)) for hit, score in zip(first, scores, strict=True)]
        scored.sort(key=lambda hit: (-hit.best.scores.final, -(hit.best.scores.reranked or 0.0)))
        return [*scored, *hits[self.count :]]


def open_reranker(project: Project, name: str, *, count: int, progress: Progress) -> Reranker:
    """The cross-encoder of the folder that `search.reranker` names.

    Raises InvalidInput when there is no such folder, or it holds no cross-encoder.
    """
    folder = project.written_path(name)
    if not folder.is_dir():
        raise InvalidInput(
            f"`search.reranker` names the folder {name}, which does not exist",
            where="configs/embedding_models",
            hint="a relative path starts at the project; --no-rerank searches without it",
        )
    cross_encoder = open_cross_encoder(folder, progress=progress)
    return Reranker(cross_encoder, name=name, count=count)


def _text_of(candidate: Candidate) -> str:
    return candidate.snapshot.chunks(np.array([candidate.row]))[0].embedded


def _with_score(hit: Hit, score: float) -> Hit:
    scores = hit.best.scores
    final = apply_boosts(_logistic(score), scores.boosts)
    return replace(hit, best=replace(hit.best, scores=replace(scores, reranked=score, final=final)))


def _logistic(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    grown = math.exp(score)  # exp(-score) of a large negative score would overflow
    return grown / (1 + grown)
