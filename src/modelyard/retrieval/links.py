"""Links: chunks of other indexes that are related to a result.

A runbook names a script, the script writes a message, and the log has the message's template. A
result is linked to chunks that it names, then to chunks that name its file, and then to chunks with
nearly the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from modelyard.results.json_form import published
from modelyard.retrieval.candidates import Candidate
from modelyard.retrieval.index_file import IndexedChunk
from modelyard.retrieval.index_snapshot import IndexSnapshot
from modelyard.retrieval.query import find_mentions
from modelyard.retrieval.terms import find_words
from modelyard.retrieval.vectors import Rows

NEAR = 0.55
"""Cosine from which two chunks of different indexes count as related."""
_LINKS = 3
_MENTIONS = 30
_READ = 50
"""Chunks that are searched for a name."""
_RARE = 20
"""A name that more chunks have is too common to link them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A chunk that is related to a result."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME of its index."""
    path: str
    """Its file."""
    first_line: int
    """Its first line."""
    last_line: int
    """Its last line."""
    title: str
    """Its headings or its name."""
    why: str
    """The reason for the link."""


_Links = Iterator[tuple[IndexedChunk, str]]
"""Chunks, each with the reason for the link."""


def find_related(
    results: Sequence[tuple[Candidate, IndexedChunk]], others: Sequence[tuple[str, IndexSnapshot]]
) -> list[tuple[Related, ...]]:
    """For each result the chunks of these indexes that are related to it, one an index.

    The surest come first. others: label and snapshot of each index; a result's own is skipped, and
    chunks of its own file are left out. Each index is compared with the results once.
    """
    links = [_named_links(found, chunk, others) for found, chunk in results]
    for label, snapshot in others:
        open_ones = [
            at
            for at, (found, _) in enumerate(results)
            if len(links[at]) < _LINKS
            and label not in links[at]
            and found.index.label != label
            and found.snapshot.meta.encoder == snapshot.meta.encoder
        ]
        if not open_ones or not len(snapshot):
            continue
        nearest = _nearest_rows([results[at][0] for at in open_ones], snapshot)
        for at, (row, cosine) in zip(open_ones, nearest, strict=True):
            if row < 0:
                continue
            (other,) = snapshot.chunks(np.array([row]))
            if other.path != results[at][1].path:
                why = f"it means nearly the same: {cosine:.2f}"
                links[at][label] = _link(label, other, why)
    return [tuple(found.values()) for found in links]


def _named_links(
    found: Candidate, chunk: IndexedChunk, others: Sequence[tuple[str, IndexSnapshot]]
) -> dict[str, Related]:
    """By index the chunk that the result names or that names its file."""
    others = [pair for pair in others if pair[0] != found.index.label and len(pair[1])]
    links: dict[str, Related] = {}
    if not others:
        return links
    mentions = find_mentions(chunk.text)[:_MENTIONS]
    for rule in (_chunks_it_names, _chunks_that_name_it):
        for index, snapshot in others:
            if index in links or len(links) == _LINKS:
                continue
            for other, why in rule(chunk.path, mentions, snapshot):
                if other.path != chunk.path:
                    links[index] = _link(index, other, why)
                    break
    return links


def _link(index: str, chunk: IndexedChunk, why: str) -> Related:
    return Related(
        index=index,
        path=chunk.path,
        first_line=chunk.first_line,
        last_line=chunk.last_line,
        title=chunk.title,
        why=why,
    )


def _chunks_it_names(path: str, mentions: Sequence[str], snapshot: IndexSnapshot) -> _Links:
    """Chunks whose file or symbol the result names."""
    for name in mentions:
        matching = snapshot.paths_called(name)
        if len(matching) == 1:
            rows = snapshot.rows_of_paths(matching)
        else:
            rows = _rows_called(snapshot, name)
        for chunk in snapshot.chunks(rows[:1]):
            yield chunk, f"it names {name}"


def _rows_called(snapshot: IndexSnapshot, name: str) -> Rows:
    """The chunks with a rare name in their title, such as the function that is called."""
    terms = [has[-1] for _, _, has in find_words(name) if len(has) > 1]
    if not terms:
        return np.zeros(0, np.int64)
    places = snapshot.postings.places(terms[-1])
    return places.rows[places.in_title > 0] if len(places.rows) <= _RARE else places.rows[:0]


def _chunks_that_name_it(path: str, mentions: Sequence[str], snapshot: IndexSnapshot) -> _Links:
    """Chunks that name the result's file."""
    name = PurePosixPath(path).name
    terms = list(dict.fromkeys(term for _, _, has in find_words(name) for term in has[-1:]))
    rows = snapshot.postings.rows_with_all(terms) if terms else np.zeros(0, np.int64)
    for chunk in snapshot.chunks(rows[:_READ]):
        named = find_mentions(chunk.text)
        if any(mention == path or path.endswith(f"/{mention}") for mention in named):
            yield chunk, f"it is named there: {name}"


def _nearest_rows(found: Sequence[Candidate], snapshot: IndexSnapshot) -> list[tuple[int, float]]:
    """The row of nearest meaning to each of these candidates and its cosine; -1 for none near."""
    vectors = np.concatenate([each.snapshot.vectors.rows(np.array([each.row])) for each in found])
    rows, cosines = snapshot.vectors.nearest(vectors, least=NEAR)
    return list(zip(rows.tolist(), cosines.tolist(), strict=True))
