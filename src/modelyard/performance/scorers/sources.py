"""The scorer citations: whether the source that holds the answer was found, and is named."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.answering.request import Answer, UsedChunk
from modelyard.core.globs import glob_pattern
from modelyard.performance.cases import Case
from modelyard.performance.scorers.scored import RIGHT, Scored, right_or, wrong


def score_citations(case: Case, answer: Answer) -> Scored:
    """With `first`: right when the first chunk is of a right source, and the score is one over the
    rank of the first that is (the reciprocal rank). With `named`: right when the answer names a
    chunk of a right source, and the score is the share of right ones among those that it names.
    """
    if not answer.chunks:
        return wrong("nothing was retrieved for it")
    if case.check.citation == "first":
        return _score_first(case, answer.chunks)
    named = [chunk for chunk in answer.chunks if chunk.is_named]
    if not named:
        return wrong("it names no source")
    good = [chunk for chunk in named if _is_right(case, chunk)]
    if not good:
        return wrong(f"it names {', '.join(chunk.place for chunk in named)}")
    return Scored(score=len(good) / len(named), right=True)


def _score_first(case: Case, chunks: Sequence[UsedChunk]) -> Scored:
    ranks = [rank for rank, chunk in enumerate(chunks, 1) if _is_right(case, chunk)]
    if ranks and ranks[0] == 1:
        return RIGHT
    why = f"{chunks[0].place} was found first"
    if not ranks:
        return right_or(False, f"{why}, and no right source at all")
    return Scored(
        score=1 / ranks[0], right=False, why=f"{why}; a right source is number {ranks[0]}"
    )


def _is_right(case: Case, chunk: UsedChunk) -> bool:
    """Whether a chunk is of one of the files that hold the answer."""
    path = chunk.place.rpartition(":")[0]
    return any(glob_pattern(source).fullmatch(path) for source in case.right.sources)
