"""Merging: the candidates of all domains in one order, each text once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.retrieval.asking import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One text that was found, perhaps in several places."""

    best: Candidate
    """The place of it that ranks best."""
    twins: tuple[Candidate, ...] = ()
    """Other places where the same text stands."""


def merge(candidates: Iterable[Candidate], count: int) -> list[Found]:
    """The best texts, best first, at most `count`."""
    ordered = sorted(candidates, key=lambda one: (-one.scores.final, one.domain.label, one.row))
    places: dict[str, list[Candidate]] = {}
    for one in ordered:
        if one.source.digest in places or len(places) < count:
            places.setdefault(one.source.digest, []).append(one)
    return [Found(best=best, twins=tuple(twins)) for best, *twins in places.values()]
