"""Links: chunks of other indexes that are related to a result.

A runbook names a script, the script writes a message, and the log has the message's template. A
result is linked to chunks that it names, then to chunks that name its file, and then to chunks with
nearly the same meaning. These are looked for among the candidates of the query, which are read
anyway: comparing each result with every chunk of the other indexes took a fifth of a search.
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


@dataclass(frozen=True, slots=True)
class Linkable:
    """An index in which related chunks are looked for."""

    label: str
    """GROUP/NAME."""
    snapshot: IndexSnapshot
    """What is read of it."""
    rows: Rows
    """The rows of the query's candidates."""


_Links = Iterator[tuple[IndexedChunk, str]]
"""Chunks, each with the reason for the link."""


def find_related(
    results: Sequence[tuple[Candidate, IndexedChunk]], others: Sequence[Linkable]
) -> list[tuple[Related, ...]]:
    """For each result the chunks of these indexes that are related to it, one an index.

    The surest come first. A result's own index is skipped, and chunks of its own file are left out.
    """
    links = [_named_links(found, chunk, others) for found, chunk in results]
    for other in others:
        open_ones = [
            at
            for at, (found, _) in enumerate(results)
            if len(links[at]) < _LINKS
            and other.label not in links[at]
            and found.index.label != other.label
            and found.snapshot.meta.encoder == other.snapshot.meta.encoder
        ]
        if not open_ones or not len(other.rows):
            continue
        nearest = _nearest_rows([results[at][0] for at in open_ones], other)
        for at, (row, cosine) in zip(open_ones, nearest, strict=True):
            if cosine < NEAR:
                continue
            (chunk,) = other.snapshot.chunks(np.array([row]))
            if chunk.path != results[at][1].path:
                why = f"it means nearly the same: {cosine:.2f}"
                links[at][other.label] = _link(other.label, chunk, why)
    return [tuple(found.values()) for found in links]


def _named_links(
    found: Candidate, chunk: IndexedChunk, others: Sequence[Linkable]
) -> dict[str, Related]:
    """By index the chunk that the result names or that names its file."""
    others = [each for each in others if each.label != found.index.label and len(each.snapshot)]
    links: dict[str, Related] = {}
    if not others:
        return links
    mentions = find_mentions(chunk.text)[:_MENTIONS]
    for rule in (_chunks_it_names, _chunks_that_name_it):
        for other in others:
            if other.label in links or len(links) == _LINKS:
                continue
            for named, why in rule(chunk.path, mentions, other.snapshot):
                if named.path != chunk.path:
                    links[other.label] = _link(other.label, named, why)
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
    rows = snapshot.postings.rows_with_title(terms[-1])
    if not len(rows) or snapshot.postings.frequency(terms[-1]) > _RARE:
        return rows[:0]
    return rows


def _chunks_that_name_it(path: str, mentions: Sequence[str], snapshot: IndexSnapshot) -> _Links:
    """Chunks that name the result's file."""
    name = PurePosixPath(path).name
    terms = list(dict.fromkeys(term for _, _, has in find_words(name) for term in has[-1:]))
    rows = snapshot.postings.rows_with_all(terms) if terms else np.zeros(0, np.int64)
    for chunk in snapshot.chunks(rows[:_READ]):
        named = find_mentions(chunk.text)
        if any(mention == path or path.endswith(f"/{mention}") for mention in named):
            yield chunk, f"it is named there: {name}"


def _nearest_rows(found: Sequence[Candidate], other: Linkable) -> list[tuple[int, float]]:
    """The row of nearest meaning to each of these candidates, and its cosine."""
    vectors = np.concatenate([each.snapshot.vectors.rows(np.array([each.row])) for each in found])
    cosines = (vectors @ other.snapshot.vectors.rows(other.rows).T).round(6)  # equal rows stay so
    best = cosines.argmax(axis=1)
    return list(zip(other.rows[best].tolist(), cosines.max(axis=1).tolist(), strict=True))
