"""Reranking: the best results, read once more by a cross-encoder and ordered by what it says.

A cross-encoder's numbers have no scale of their own. The logistic function brings them between 0
and 1, where the mix lies too, so that the boosts mean the same before and after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modelyard.configs.kinds.embedding_models import SearchRules
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders.cross_encoder import CrossEncoder, open_cross_encoder
from modelyard.retrieval.asking import Candidate
from modelyard.retrieval.boosts import apply_boosts
from modelyard.retrieval.merging import Found
from modelyard.retrieval.query import Query


class Reranker:
    """Orders the best results again."""

    def __init__(self, cross_encoder: CrossEncoder, *, name: str, count: int) -> None:
        """name: as the config has it.  count: how many results it reads."""
        self.name, self.count = name, count
        self._cross_encoder = cross_encoder

    def order(self, query: Query, found: Sequence[Found]) -> list[Found]:
        """The first `count` by what the cross-encoder says; the others follow as they were."""
        first = found[: self.count]
        scores = self._cross_encoder.score(query.text, [_text_of(one.best) for one in first])
        scored = [_scored(one, float(score)) for one, score in zip(first, scores, strict=True)]
        scored.sort(key=lambda one: (-one.best.scores.final, -(one.best.scores.reranked or 0.0)))
        return [*scored, *found[self.count :]]


def open_reranker(project: Project, rules: SearchRules, *, progress: Progress) -> Reranker | None:
    """What `search.reranker` names, or None where it names none.

    Raises InvalidInput when there is no such folder, or it holds no cross-encoder.
    """
    if rules.reranker is None:
        return None
    folder = project.written_path(rules.reranker)
    if not folder.is_dir():
        raise InvalidInput(
            f"`search.reranker` names the folder {rules.reranker}, which does not exist",
            where="configs/embedding_models",
            hint="a relative path starts at the project; --no-rerank searches without it",
        )
    cross_encoder = open_cross_encoder(folder, progress=progress)
    return Reranker(cross_encoder, name=rules.reranker, count=rules.reranked)


def _text_of(one: Candidate) -> str:
    """What a vector is made of too: the title above the chunk."""
    chunk = one.snapshot.chunks(np.array([one.row]))[0]
    return f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text


def _scored(one: Found, score: float) -> Found:
    scores = one.best.scores
    final = apply_boosts(_logistic(score), scores.boosts)
    return replace(one, best=replace(one.best, scores=replace(scores, reranked=score, final=final)))


def _logistic(score: float) -> float:
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    grown = math.exp(score)  # the other way round, a large negative number would overflow
    return grown / (1 + grown)
