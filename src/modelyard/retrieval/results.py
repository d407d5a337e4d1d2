"""What a search returns: chunks, why each stands where it stands, how each index was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelyard.retrieval.index_file import IndexedChunk
from modelyard.retrieval.links import Related
from modelyard.retrieval.query import Query
from modelyard.retrieval.snippets import Snippet

FileState = Literal["same", "changed", "gone"]
"""What became of a file since it was indexed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Why a result stands where it stands."""

    dense: float
    """Cosine of query and chunk, after feedback."""
    words: float
    """BM25."""
    ideal: float
    """BM25 of an ideal chunk; the words count as their share of it."""
    dense_weight: float
    """The share of the dense side in the mix."""
    fused: float
    """dense_weight x dense + (1 - dense_weight) x words / ideal."""
    boosts: Mapping[str, float] = field(default_factory=dict)
    """What changed it: `rank_below` and `recency` multiply, `named_file` is added."""
    reranked: float | None = None
    """What the cross-encoder says, on a scale of its own; null where it was not asked."""
    final: float
    """What it is ranked by: fused, or the logistic function of reranked, with the boosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One chunk that was found."""

    index: str
    """GROUP/NAME of its index."""
    chunk: IndexedChunk
    """What was found: file, lines, title, text."""
    snippet: Snippet
    """Its lines that say most about the query."""
    scores: Scores
    """Why it stands where it stands."""
    state: FileState
    """What became of its file since it was indexed: lines of a changed one may have moved."""
    also: tuple[str, ...] = ()
    """Where the same text, or more of the same function, stands as well, as PATH:LINE."""
    related: tuple[Related, ...] = ()
    """Chunks of other indexes that belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How one index was asked."""

    index: str
    """GROUP/NAME."""
    chunks: int
    """How many its index has."""
    snapshot: str
    """Which state of the index answered."""
    dense_weight: float
    """The share of the dense side."""
    because: str
    """Why it is that."""
    allowed: int
    """Chunks that filters and quoted phrases let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults:
    """What a search found, and how it went about it."""

    query: Query
    """How the query was understood."""
    results: tuple[Result, ...]
    """The best, best first."""
    asked: tuple[Asked, ...]
    """The indexes that answered."""
    reranker: str | None = None
    """The cross-encoder that ordered the best of them again, as the config names it."""
    notes: tuple[str, ...] = ()
    """What a person should know: indexes that are not built, files that changed meanwhile."""
