"""Results of a search: chunks with their snippets and links, and whether their files changed.

Only the files of shown results are checked, so a search looks at the file system once for each.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.results.json_form import published
from modelyard.retrieval.candidates import Hit, Scores, SearchedIndex
from modelyard.retrieval.index_file import IndexedChunk
from modelyard.retrieval.index_snapshot import ChunkSource
from modelyard.retrieval.indexes import update_command
from modelyard.retrieval.links import Linkable, Related, find_related
from modelyard.retrieval.query import Query
from modelyard.retrieval.snippets import Snippet, chunk_snippet

FileState = Literal["same", "changed", "gone"]
"""Whether a file changed since it was indexed."""

_LARGEST_NS = 2**63 - 1
"""The index stores this for a later time."""
_UNKNOWN = "\ufffd"
"""Replaces bytes of a path that are not UTF-8, so the file cannot be found by the shown path."""
_MORE = 3
"""Further chunks of a file that are named with its result."""
_HASHED_AT_MOST_BYTES = 2_000_000
"""A larger file with another time counts as changed: reading it would delay the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One chunk that was found."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME of its index."""
    chunk: IndexedChunk = field(metadata=published(inline=True, without=("id", "modified_at")))
    """The chunk: file, lines, title, text."""
    snippet: Snippet
    """Its lines with the most terms of the query."""
    scores: Scores
    """Its scores, and how they were combined."""
    state: FileState
    """Whether its file changed since it was indexed; the lines of a changed file may have moved."""
    also: tuple[str, ...] = ()
    """Other places of the text or nearly the same, and of more of the function, as PATH:LINE."""
    more: tuple[str, ...] = ()
    """Further chunks of its file that are not shown by themselves, as FIRST-LAST."""
    related: tuple[Related, ...] = ()
    """Related chunks of other indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults:
    """The results of a search, and how they were found."""

    query: Query
    """The parsed query."""
    results: tuple[Result, ...]
    """The best first."""
    asked: tuple[SearchedIndex, ...]
    """The indexes that were searched."""
    answered: bool | None = None
    """Whether one of them answers the query; null where that is not known (`answerable.py`)."""
    reranker: str | None = None
    """The cross-encoder that reranked the best, as the config names it."""
    notes: tuple[str, ...] = ()
    """Notes for the reader: indexes that are not built, files that changed since."""


def build_results(
    project: Project,
    query: Query,
    hits: Sequence[Hit],
    others: Sequence[Linkable],
) -> list[Result]:
    """Hits as they are shown; `others` are the indexes in which related chunks are looked for."""
    chunks = [hit.best.snapshot.chunks(np.array([hit.best.row]))[0] for hit in hits]
    related = find_related(
        [(hit.best, chunk) for hit, chunk in zip(hits, chunks, strict=True)], others
    )
    return [
        _build_result(project, query, hit, chunk, links)
        for hit, chunk, links in zip(hits, chunks, related, strict=True)
    ]


def _build_result(
    project: Project, query: Query, hit: Hit, chunk: IndexedChunk, related: tuple[Related, ...]
) -> Result:
    best = hit.best
    places = {
        (duplicate.path, duplicate.first_line)
        for candidate in hit.duplicates
        for duplicate in candidate.snapshot.chunks(np.array([candidate.row]))
    }
    return Result(
        index=best.index.label,
        chunk=chunk,
        snippet=chunk_snippet(chunk, query.terms),
        scores=best.scores,
        state=file_state(project, best.source),
        also=tuple(
            f"{path}:{line}" for path, line in sorted(places - {(chunk.path, chunk.first_line)})
        ),
        more=_lines_of(hit, chunk),
        related=related,
    )


def _lines_of(hit: Hit, shown: IndexedChunk) -> tuple[str, ...]:
    """The lines of the best further chunks of a file, as FIRST-LAST, each once.

    Pieces of one long line, and cells of a table, stand on the same lines.
    """
    lines = {(shown.first_line, shown.last_line): None}
    for candidate in hit.more:
        (chunk,) = candidate.snapshot.chunks(np.array([candidate.row]))
        lines[chunk.first_line, chunk.last_line] = None
        if len(lines) > _MORE:
            break
    return tuple(f"{first}-{last}" for first, last in list(lines)[1:])


def file_state(project: Project, source: ChunkSource) -> FileState:
    """Whether a file is as it was indexed; a new modification time alone is no change."""
    path = project.root / source.path
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return "gone"
        if found.st_size != source.size_bytes:
            return "changed"
        if min(found.st_mtime_ns, _LARGEST_NS) == source.mtime_ns:
            return "same"
        if source.size_bytes > _HASHED_AT_MOST_BYTES:
            return "changed"
        same = hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256
        return "same" if same else "changed"
    except FileNotFoundError:
        return "same" if _UNKNOWN in source.path else "gone"
    except OSError:
        return "changed"  # it can no longer be read


def note_stale(results: Sequence[Result], environment: str) -> list[str]:
    """One note where the files of results changed since they were indexed."""
    counts = {
        state: len({result.chunk.path for result in results if result.state == state})
        for state in ("changed", "gone")
    }
    parts = [
        f"{counted(counts[state], 'file')} {verb}"
        for state, verb in (("changed", "changed"), ("gone", "went"))
        if counts[state]
    ]
    if not parts:
        return []
    indexes = dict.fromkeys(result.index for result in results if result.state != "same")
    command = update_command(indexes, environment)
    return [f"{' and '.join(parts)} since the index was made: `{command}` brings it up to date"]
