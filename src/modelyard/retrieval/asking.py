"""Asking one index: which chunks may answer, how its sides weigh, what each chunk gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.boosts import BoostRules, apply_boosts
from modelyard.retrieval.filters import rows_of_filter
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.opened import Snapshot, Source
from modelyard.retrieval.query import Query
from modelyard.retrieval.ranking import Floats, Ranked, Rows, ideal_score, manner_of, rank
from modelyard.retrieval.results import Asked, Scores
from modelyard.retrieval.words import find_words

RARE_SHARE = 0.01
"""A name that stands in more of the chunks tells little; the words do not weigh more for it."""
_RARE_AT_LEAST = 10
_TWINS = 50
"""Candidates beyond those wanted, for texts that stand in several places."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A chunk of one index that could be shown."""

    index: SearchIndex
    """Where it was found."""
    snapshot: Snapshot
    """The state of the index that it was found in."""
    row: int
    """Its row there."""
    source: Source
    """The file that it comes from."""
    scores: Scores
    """How good it is."""


def ask_index(
    index: SearchIndex,
    snapshot: Snapshot,
    query: Query,
    vector: Floats | None,
    *,
    filters: Mapping[str, str],
    depth: int,
    wanted: int,
) -> tuple[Asked, list[Candidate]]:
    """How the index was asked, and its candidates with their boosts.

    vector: the query's, or None where only words can be compared.
    depth: chunks taken from each side before they are weighed.  wanted: how many are needed.
    """
    named_files, known_names = _known_names(query, snapshot)
    weight, because = _dense_weight(index, vector, known_names)
    allowed = _allowed(index, snapshot, query, filters)
    manner = manner_of(index.settings.chunker)
    bm25 = snapshot.postings.bm25(query.terms, manner.title_weight)
    ideal = ideal_score([snapshot.postings.idf(term) for term in query.terms])
    ranked = rank(
        vector if vector is not None else np.zeros(snapshot.meta.dimensions, np.float32),
        snapshot.vectors,
        bm25,
        ideal,
        dense_weight=weight,
        manner=manner,
        depth=depth,
        allowed=allowed,
        named=named_files,
    )
    rules = BoostRules(index.settings, named_files, datetime.now(UTC))
    if rules.change_nothing:
        ranked = ranked.best(wanted + _TWINS)
    asked = Asked(
        index=index.label,
        chunks=len(snapshot),
        snapshot=snapshot.meta.version,
        dense_weight=weight,
        because=because,
        allowed=len(snapshot) if allowed is None else int(allowed.sum()),
    )
    return asked, _candidates(index, snapshot, ranked, rules, weight, ideal)


def _known_names(query: Query, snapshot: Snapshot) -> tuple[Rows | None, list[str]]:
    """The chunks of files that the query names, and which of its names this index knows."""
    if not query.names:
        return None, []
    named: list[str] = []
    known: list[str] = []
    rare = max(_RARE_AT_LEAST, RARE_SHARE * len(snapshot))
    for name in query.names:
        fitting = snapshot.paths_called(name)
        named += fitting
        terms = [has[-1] for _, _, has in find_words(name) if has]
        stands = len(snapshot.postings.rows_with_all(terms)) if terms else 0
        if fitting or 0 < stands <= rare:
            known.append(name)
    return (snapshot.rows_of_paths(named) if named else None), known


def _dense_weight(
    index: SearchIndex, vector: Floats | None, known_names: Sequence[str]
) -> tuple[float, str]:
    if vector is None:
        return 0.0, "words only"
    if known_names:
        return index.fusion.exact_dense, f"it knows {', '.join(known_names)}"
    return index.fusion.dense, "a question in words"


def _allowed(
    index: SearchIndex, snapshot: Snapshot, query: Query, filters: Mapping[str, str]
) -> Mask | None:
    """What filters and quoted phrases let through: bool [n]; None where that is everything."""
    masks = [_mask(snapshot, rows_of_filter(index, snapshot, *one)) for one in filters.items()]
    masks += [_mask(snapshot, _rows_of_phrase(snapshot, phrase)) for phrase in query.phrases]
    if not masks:
        return None
    allowed: Mask = np.logical_and.reduce(masks)
    return allowed


def _mask(snapshot: Snapshot, rows: Rows) -> Mask:
    mask = np.zeros(len(snapshot), np.bool_)
    mask[rows] = True
    return mask


def _rows_of_phrase(snapshot: Snapshot, phrase: str) -> Rows:
    """The chunks in which a quoted phrase stands."""
    terms = list(dict.fromkeys(term for _, _, has in find_words(phrase) for term in has[-1:]))
    return snapshot.rows_that_say(phrase, snapshot.postings.rows_with_all(terms))


def _candidates(
    index: SearchIndex,
    snapshot: Snapshot,
    ranked: Ranked,
    rules: BoostRules,
    weight: float,
    ideal: float,
) -> list[Candidate]:
    sources = snapshot.sources(ranked.rows)
    columns = (ranked.rows, ranked.dense, ranked.words, ranked.fused)
    found = []
    for row, dense, words, fused in zip(*(column.tolist() for column in columns), strict=True):
        boosts = rules.of(row, sources[row])
        scores = Scores(
            dense=dense,
            words=words,
            ideal=ideal,
            dense_weight=weight,
            fused=fused,
            boosts=boosts,
            final=apply_boosts(fused, boosts),
        )
        found.append(
            Candidate(index=index, snapshot=snapshot, row=row, source=sources[row], scores=scores)
        )
    return found
