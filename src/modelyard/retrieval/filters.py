"""Filters: which chunks `--filter KEY=VALUE` and quoted phrases let through, and why none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.globs import glob_pattern
from modelyard.retrieval.index_snapshot import IndexSnapshot
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.query import Query
from modelyard.retrieval.terms import phrase_terms
from modelyard.retrieval.vectors import Rows

_KEYS_OF_EVERY_CHUNK = ("path", "kind", "domain")
_LISTED_VALUES = 10

Searched = Sequence[tuple[SearchIndex, IndexSnapshot]]


def filter_chunks(
    index: SearchIndex, snapshot: IndexSnapshot, query: Query, filters: Mapping[str, str]
) -> npt.NDArray[np.bool_] | None:
    """The chunks that all filters and quoted phrases let through: bool [n]; None for all."""
    selections = [_rows_of_filter(index, snapshot, key, value) for key, value in filters.items()]
    for phrase in query.phrases:
        candidates = snapshot.postings.rows_with_all(phrase_terms(phrase))
        selections.append(snapshot.rows_with_phrase(phrase, candidates))
    if not selections:
        return None
    allowed = np.ones(len(snapshot), np.bool_)
    for rows in selections:
        mask = np.zeros(len(snapshot), np.bool_)
        mask[rows] = True
        allowed &= mask
    return allowed


def _rows_of_filter(index: SearchIndex, snapshot: IndexSnapshot, key: str, value: str) -> Rows:
    """The chunks of an index that one filter lets through."""
    if key == "path":
        pattern = glob_pattern(value)
        return snapshot.rows_of_paths(
            [path for path in snapshot.paths() if pattern.fullmatch(path)]
        )
    if key == "kind":
        return snapshot.rows_of_kind(value)
    if key == "domain":
        return np.arange(len(snapshot) if value in (index.name, index.label) else 0)
    return snapshot.rows_with_fact(key, value)


def explain_no_match(searched: Searched, filters: Mapping[str, str]) -> list[str]:
    """Notes where filters let nothing through: one for each filter that nothing matches.

    Raises InvalidInput for a key that no chunk of these indexes has.
    """
    filled = [(index, snapshot) for index, snapshot in searched if len(snapshot)]
    unmatched = {
        key: value
        for key, value in filters.items()
        if filled and not any(len(_rows_of_filter(*pair, key, value)) for pair in filled)
    }
    facts = {name for _, snapshot in filled for name in snapshot.fact_names()} if unmatched else ()
    keys = [*_KEYS_OF_EVERY_CHUNK, *sorted(set(facts) - set(_KEYS_OF_EVERY_CHUNK))]
    for key in unmatched:
        if key not in keys:
            raise InvalidInput(
                f"filter {key}: no chunk has such a fact{did_you_mean(key, keys)}",
                hint=f"the keys here: {', '.join(keys)}",
            )
    return [_note(filled, key, value) for key, value in unmatched.items()]


def _note(searched: Searched, key: str, value: str) -> str:
    if key == "path":
        return f"no indexed file matches path={value}"
    if key == "domain":
        labels = _there_are(index.label for index, _ in searched)
        return f"domain={value} was not searched; {labels}"
    values: set[str] = set()
    for _, snapshot in searched:
        values.update(snapshot.kinds() if key == "kind" else snapshot.fact_values(key))
    return f"no chunk has {key}={value}; {_there_are(values)}"


def _there_are(values: Iterable[str]) -> str:
    known = sorted(values)
    more = len(known) - _LISTED_VALUES
    rest = f" and {more} more" if more > 0 else ""
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known[:_LISTED_VALUES])}{rest}"
