"""Candidates: the chunks of one index that may answer a query, with their scores and boosts.

A boost is what counts besides meaning and terms: a file's age, its rank, its name in the query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.core.globs import glob_pattern
from modelyard.results.json_form import published
from modelyard.retrieval.answerable import match
from modelyard.retrieval.code_files import (
    asks_for_asides,
    code_boosts,
    is_aside,
    rows_of_definitions,
)
from modelyard.retrieval.filters import filter_chunks
from modelyard.retrieval.index_snapshot import ChunkSource, IndexSnapshot
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.near_equal import join_near_equal
from modelyard.retrieval.postings import merge_rows
from modelyard.retrieval.query import Query
from modelyard.retrieval.ranking import rank, ranking_settings, results_per_file
from modelyard.retrieval.terms import find_words
from modelyard.retrieval.vectors import Floats, Rows

RARE_SHARE = 0.01
"""A name in a larger share of the chunks says little: terms then weigh no more than usual."""
_RARE_AT_LEAST = 10
_SPARE = 50
"""Candidates beyond those wanted, since equal texts are shown once."""
_FEW_TERMS = 3
"""Terms of a query that counts as answered when a chunk has all of them: a name or a phrase."""
RANKED_BELOW = 0.7
"""The factor for the score of a chunk that `rank_below` names."""
OLDEST = 0.85
"""The factor for the score of a chunk that is very old: an exact match outweighs its age."""
NAMED_FILE = 0.4
"""What is added to the score of a chunk when the query names its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of a chunk, and how they were combined."""

    dense: float
    """Cosine of query and chunk, after feedback."""
    crowding: float
    """How much nearer its neighbours are to it than to a usual chunk."""
    lexical: float = field(metadata=published("words"))
    """BM25, the lexical score."""
    ideal: float
    """BM25 of an ideal chunk, which is full of every term."""
    lexical_scale: float = field(metadata=published("scale"))
    """What the lexical score is divided by: the geometric mean of `ideal` and of the best BM25."""
    dense_weight: float
    """The share of the dense score in the mix."""
    fused: float
    """dense_weight x (dense - 0.3 x crowding) + (1 - dense_weight) x lexical / scale."""
    boosts: Mapping[str, float] = field(default_factory=dict)
    """`rank_below` and `recency` are factors; the others are added."""
    reranked: float | None = None
    """The cross-encoder's score, on its own scale; null where it did not read the chunk."""
    final: float
    """What results are ordered by: fused, or the logistic function of reranked, with the boosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedIndex:
    """How one index was searched."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME."""
    chunks: int = field(metadata=published("passages"))
    """How many chunks it has."""
    snapshot: str
    """The version of the index that was read."""
    dense_weight: float
    """The share of the dense score."""
    because: str
    """Why the share is that."""
    allowed: int
    """Chunks that filters and quoted phrases let through."""
    match: float | None
    """How well its best answers the query, 0 to 1; null where that is not known."""
    certain: bool
    """Whether it has what the query quotes, or a file or definition that it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A chunk of one index that may be shown."""

    index: SearchIndex
    """Where it was found."""
    snapshot: IndexSnapshot
    """The snapshot of the index that it was found in."""
    row: int
    """Its row there."""
    source: ChunkSource
    """The file that it comes from."""
    scores: Scores
    """How good it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A text or function that was found, perhaps in several places."""

    best: Candidate
    """Its place with the best score."""
    duplicates: tuple[Candidate, ...] = ()
    """Other places of the text or of nearly the same, and other pieces of the same function."""
    more: tuple[Candidate, ...] = ()
    """Further candidates of its file that are not shown by themselves."""


def find_candidates(
    index: SearchIndex,
    snapshot: IndexSnapshot,
    query: Query,
    vector: Floats | None,
    *,
    filters: Mapping[str, str],
    depth: int,
    wanted: int,
) -> tuple[SearchedIndex, list[Candidate]]:
    """How the index was searched, and its candidates with their boosts.

    vector: the query's, or None where vectors cannot be compared.
    depth: chunks taken by each score before they are mixed.  wanted: how many are needed.
    """
    named_files, known_names = _find_names(query, snapshot)
    if vector is None:
        weight, because = 0.0, "its vectors cannot be compared"
    elif known_names:
        weight, because = index.fusion.exact_dense, f"it knows {', '.join(known_names)}"
    else:
        weight, because = index.fusion.dense, "no known name in the query"
    allowed = filter_chunks(index, snapshot, query, filters)
    settings = ranking_settings(index.settings.chunker)
    ideal = snapshot.postings.ideal_bm25(query.counts)
    certain = named_files
    if settings.by_file and query.symbols:
        defining = rows_of_definitions(query, snapshot)
        certain = defining if certain is None else merge_rows(certain, defining)
    bm25 = snapshot.postings.bm25(query.counts, settings.title_weight)
    ranked = rank(
        vector if vector is not None else np.zeros(snapshot.meta.dimensions, np.float32),
        snapshot.vectors,
        bm25,
        ideal,
        dense_weight=weight,
        settings=settings,
        depth=depth,
        allowed=allowed,
        named=certain,
    )
    rules = BoostRules(
        index.settings,
        named_files,
        datetime.now(UTC),
        asides_below=settings.by_file and not asks_for_asides(query),
    )
    if rules.change_nothing and not settings.by_file:
        ranked = ranked.best(wanted + _SPARE)
    searched = SearchedIndex(
        index=index.label,
        chunks=len(snapshot),
        snapshot=snapshot.meta.version,
        dense_weight=weight,
        because=because,
        allowed=len(snapshot) if allowed is None else int(allowed.sum()),
        match=None
        if vector is None
        else match(
            index.encoder.model, ranked.closest, float(ranked.lexical.max(initial=0)), ideal
        ),
        certain=bool(len(ranked.rows) and (query.phrases or known_names))
        or (0 < len(query.terms) <= _FEW_TERMS and _has_all(snapshot, query, allowed)),
    )
    sources = snapshot.sources(ranked.rows)
    in_code = [dict[str, float]()] * len(ranked.rows)
    if settings.by_file:
        in_code = code_boosts(query, ranked, sources, snapshot)
    columns = (ranked.rows, ranked.dense, ranked.crowding, ranked.lexical, ranked.fused)
    candidates = []
    for row, dense, crowding, lexical, fused, added in zip(
        *(column.tolist() for column in columns), in_code, strict=True
    ):
        source = sources[row]
        boosts = {**rules.boosts(row, source), **added}
        scores = Scores(
            dense=dense,
            crowding=crowding,
            lexical=lexical,
            ideal=ideal,
            lexical_scale=ranked.lexical_scale,
            dense_weight=weight,
            fused=fused,
            boosts=boosts,
            final=apply_boosts(fused, boosts),
        )
        candidates.append(
            Candidate(index=index, snapshot=snapshot, row=row, source=source, scores=scores)
        )
    return searched, candidates


def _has_all(snapshot: IndexSnapshot, query: Query, allowed: npt.NDArray[np.bool_] | None) -> bool:
    """Whether a chunk that may be shown has every term of a query."""
    rows = snapshot.postings.rows_with_all(query.terms)
    return bool(len(rows) if allowed is None else allowed[rows].any())


def _find_names(query: Query, snapshot: IndexSnapshot) -> tuple[Rows | None, list[str]]:
    """The chunks of files that the query names, and which of its names the index knows."""
    paths: list[str] = []
    known: list[str] = []
    rare = max(_RARE_AT_LEAST, RARE_SHARE * len(snapshot))
    for name in query.names:
        matching = snapshot.paths_called(name)
        paths += matching
        terms = [word_terms[-1] for _, _, word_terms in find_words(name) if word_terms]
        count = len(snapshot.postings.rows_with_all(terms)) if terms else 0
        if matching or 0 < count <= rare:
            known.append(name)
    return (snapshot.rows_of_paths(paths) if paths else None), known


class BoostRules:
    """Which boosts the chunks of one index get for one query."""

    def __init__(
        self,
        settings: IndexSettings,
        named: Rows | None,
        now: datetime,
        *,
        asides_below: bool = False,
    ) -> None:
        """named: the rows of files that the query names.  asides_below: whether tests, examples
        and benchmarks rank below the rest."""
        self._asides_below = asides_below
        self._below: list[re.Pattern[str]] = [glob_pattern(glob) for glob in settings.rank_below]
        self._half_life_s = settings.recency_half_life_s
        self._named = frozenset(named.tolist()) if named is not None else frozenset[int]()
        self._now = now

    @property
    def change_nothing(self) -> bool:
        """Whether no chunk gets a boost, so that the order stays that of the mix."""
        return not (self._below or self._asides_below or self._half_life_s or self._named)

    def boosts(self, row: int, source: ChunkSource) -> Mapping[str, float]:
        """The boosts of a chunk by name, as in `Scores.boosts`."""
        boosts: dict[str, float] = {}
        is_named = row in self._named  # a query that names a test asks for the test
        if not is_named and self._is_below(source.path):
            boosts["rank_below"] = RANKED_BELOW
        if self._half_life_s:
            boosts["recency"] = _recency(source, self._now, self._half_life_s)
        if is_named:
            boosts["named_file"] = NAMED_FILE
        return boosts

    def _is_below(self, path: str) -> bool:
        if self._asides_below and is_aside(path):
            return True
        return any(pattern.fullmatch(path) for pattern in self._below)


FACTORS = ("rank_below", "recency")
"""The boosts that multiply a score; the others are added to it."""


def apply_boosts(score: float, boosts: Mapping[str, float]) -> float:
    """The score with its boosts; a factor below 1 would raise a negative score, so it is left."""
    added = sum(value for name, value in boosts.items() if name not in FACTORS)
    factor = math.prod(boosts.get(name, 1.0) for name in FACTORS)
    whole = score + added
    return whole * factor if whole > 0 else whole


def _recency(source: ChunkSource, now: datetime, half_life_s: float) -> float:
    """The factor for a chunk's age: 1 now, halfway to the least after `half_life_s`."""
    for written in (source.last_seen, source.modified_at):
        try:
            at = datetime.fromisoformat(written or "")
        except ValueError:
            continue
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        left = 0.5 ** (max(0.0, (now - at).total_seconds()) / half_life_s)
        return float(OLDEST + (1.0 - OLDEST) * left)
    return 1.0


def merge(candidates: Iterable[Candidate], count: int, *, per_file: int | None = None) -> list[Hit]:
    """The candidates of all indexes, best first, at most `count`.

    Equal texts and near-equal paragraphs are one hit.

    per_file: hits of one file, at most. Without it, further hits of a file only fill the places
    that other files leave (`results_per_file`).
    """
    ordered = sorted(candidates, key=_order)
    hits: list[list[Candidate]] = []
    hit_of: dict[Hashable, list[Candidate]] = {}
    for candidate in ordered:
        keys = list(_merge_keys(candidate))
        hit = next((hit_of[key] for key in keys if key in hit_of), None)
        if hit is None:
            hit = []
            hits.append(hit)
        hit.append(candidate)
        for key in keys:
            hit_of.setdefault(key, hit)
    shown, held = _spread_over_files(join_near_equal(hits, count), per_file)
    if per_file is None and len(shown) < count:
        filling, held = held[: count - len(shown)], held[count - len(shown) :]
        shown = sorted([*shown, *filling], key=lambda hit: _order(hit[0]))
    more: dict[str, list[Candidate]] = {}
    for best, *_ in held:
        more.setdefault(best.source.path, []).append(best)
    return [
        Hit(best=best, duplicates=tuple(same), more=tuple(more.pop(best.source.path, ())))
        for best, *same in shown[:count]
    ]


def _order(candidate: Candidate) -> tuple[float, str, int]:
    """Sorts the best first."""
    return -candidate.scores.final, candidate.index.label, candidate.row


def _spread_over_files(
    hits: Sequence[list[Candidate]], per_file: int | None
) -> tuple[list[list[Candidate]], list[list[Candidate]]]:
    """The hits that a file may have at once, and the others, both in their order."""
    counts: dict[str, int] = {}
    shown: list[list[Candidate]] = []
    held: list[list[Candidate]] = []
    for hit in hits:
        path = hit[0].source.path
        most = per_file or results_per_file(hit[0].index.settings.chunker)
        counts[path] = counts.get(path, 0) + 1
        (shown if most is None or counts[path] <= most else held).append(hit)
    return shown, held


def _merge_keys(candidate: Candidate) -> Iterator[Hashable]:
    """What candidates of one hit have in common: their text, or their function."""
    source = candidate.source
    yield source.digest
    if source.function:
        yield candidate.index.label, source.path, source.function
