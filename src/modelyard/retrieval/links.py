"""Links: chunks of other indexes that belong to one that was found.

A runbook names a script, the script writes a message, and the log shows its pattern. A chunk is
linked to what it names, then to what names its file, and else to what means nearly the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from modelyard.retrieval.index_file import IndexedChunk
from modelyard.retrieval.opened import Snapshot
from modelyard.retrieval.query import find_mentions
from modelyard.retrieval.ranking import Rows
from modelyard.retrieval.words import find_words

NEAR = 0.55
"""Cosine from which two chunks of different indexes are about one thing."""
_LINKS = 3
_MENTIONS = 30
_READ = 50
"""Chunks that are read in search of a name."""
_RARE = 20
"""A name that more chunks have is a word of the trade, and links nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A result, and where it was found."""

    index: str
    """GROUP/NAME of its index."""
    chunk: IndexedChunk
    """What was found."""
    snapshot: Snapshot
    """The state of the index that it was found in."""
    row: int
    """Its row there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A chunk that belongs to a result."""

    index: str
    """GROUP/NAME of its index."""
    path: str
    """Its file."""
    first_line: int
    """Its first line."""
    last_line: int
    """Its last line."""
    title: str
    """What it stands under or is called."""
    why: str
    """Which link it is, in words."""


def find_related(shown: Shown, others: Sequence[tuple[str, Snapshot]]) -> tuple[Related, ...]:
    """What belongs to a result in these indexes, one chunk an index, the surest links first.

    Chunks of its own file are no news, and those of its own index are results anyway.
    """
    others = [one for one in others if one[0] != shown.index and len(one[1])]
    if not others:
        return ()
    mentions = find_mentions(shown.chunk.text)[:_MENTIONS]
    links: dict[str, Related] = {}
    for rule in (_named_in_it, _naming_it, _near_it):
        for index, snapshot in others:
            if index not in links and len(links) < _LINKS:
                for chunk, why in rule(shown, snapshot, mentions):
                    if chunk.path != shown.chunk.path:
                        links[index] = _related(index, chunk, why)
                        break
    return tuple(links.values())


def _related(index: str, chunk: IndexedChunk, why: str) -> Related:
    return Related(
        index=index,
        path=chunk.path,
        first_line=chunk.first_line,
        last_line=chunk.last_line,
        title=chunk.title,
        why=why,
    )


_Links = Iterator[tuple[IndexedChunk, str]]


def _named_in_it(shown: Shown, snapshot: Snapshot, mentions: Sequence[str]) -> _Links:
    """Chunks whose file or symbol the result names."""
    for name in mentions:
        fitting = snapshot.paths_called(name)
        rows = (
            snapshot.rows_of_paths(fitting) if len(fitting) == 1 else _rows_called(snapshot, name)
        )
        for chunk in snapshot.chunks(rows[:1]):
            yield chunk, f"it names {name}"


def _rows_called(snapshot: Snapshot, name: str) -> Rows:
    """The chunks with a rare name in their title, such as the function that is called."""
    terms = [has[-1] for _, _, has in find_words(name) if len(has) > 1]
    if not terms:
        return np.zeros(0, np.int64)
    places = snapshot.postings.places(terms[-1])
    return places.rows[places.in_title > 0] if len(places.rows) <= _RARE else places.rows[:0]


def _naming_it(shown: Shown, snapshot: Snapshot, mentions: Sequence[str]) -> _Links:
    """Chunks that name the result's file."""
    path = shown.chunk.path
    name = PurePosixPath(path).name
    terms = list(dict.fromkeys(term for _, _, has in find_words(name) for term in has[-1:]))
    rows = snapshot.postings.rows_with_all(terms) if terms else np.zeros(0, np.int64)
    for chunk in snapshot.chunks(rows[:_READ]):
        if any(said == path or path.endswith(f"/{said}") for said in find_mentions(chunk.text)):
            yield chunk, f"it is named there: {name}"


def _near_it(shown: Shown, snapshot: Snapshot, mentions: Sequence[str]) -> _Links:
    """The chunk that means most nearly the same, where the same encoder made both vectors."""
    if snapshot.meta.encoder != shown.snapshot.meta.encoder:
        return
    vector = shown.snapshot.vectors.rows(np.array([shown.row]))[0]
    best = np.array([np.argmax(snapshot.vectors.closeness(vector))])
    cosine = float(snapshot.vectors.exact(best, vector)[0])
    if cosine >= NEAR:
        for chunk in snapshot.chunks(best):
            yield chunk, f"it means nearly the same: {cosine:.2f}"
