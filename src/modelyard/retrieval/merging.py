"""Merging: the candidates of all indexes in one order, each text and each function once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from modelyard.retrieval.asking import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found once, perhaps in several places."""

    best: Candidate
    """The place of it that ranks best."""
    twins: tuple[Candidate, ...] = ()
    """Other places where the same text stands, and other pieces of the same function."""


def merge(candidates: Iterable[Candidate], count: int) -> list[Found]:
    """The best, best first, at most `count`."""
    ordered = sorted(candidates, key=lambda one: (-one.scores.final, one.index.label, one.row))
    found: list[list[Candidate]] = []
    found_as: dict[Hashable, list[Candidate]] = {}
    for one in ordered:
        names = list(_names(one))
        places = next((found_as[name] for name in names if name in found_as), None)
        if places is None:
            if len(found) == count:
                continue
            places = []
            found.append(places)
        places.append(one)
        for name in names:
            found_as.setdefault(name, places)
    return [Found(best=best, twins=tuple(twins)) for best, *twins in found]


def _names(one: Candidate) -> Iterator[Hashable]:
    """What a candidate shares with those that are shown with it."""
    source = one.source
    yield source.digest
    if source.function:
        yield one.index.label, source.path, source.function
