"""Filters: which chunks `--filter KEY=VALUE` lets through, and why it may be none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.opened import Snapshot
from modelyard.retrieval.query import glob_pattern
from modelyard.retrieval.ranking import Rows

_OF_EVERY_CHUNK = ("path", "kind", "domain")
_NAMED = 10
"""Values that a note names."""

Searched = Sequence[tuple[SearchIndex, Snapshot]]


def rows_of_filter(index: SearchIndex, snapshot: Snapshot, key: str, value: str) -> Rows:
    """The chunks of an index that one filter lets through."""
    if key == "path":
        pattern = glob_pattern(value)
        return snapshot.rows_of_paths([path for path in snapshot.paths() if pattern.match(path)])
    if key == "kind":
        return snapshot.rows_of_kind(value)
    if key == "domain":
        fits = value in (index.name, index.label)
        return np.arange(len(snapshot) if fits else 0)
    return snapshot.rows_with_fact(key, value)


def note_filters(asked: Searched, filters: Mapping[str, str]) -> list[str]:
    """What to say where filters let nothing through: each one that nothing fits by itself.

    Raises InvalidInput for a key that no chunk of these indexes has.
    """
    some = [(index, snapshot) for index, snapshot in asked if len(snapshot)]
    fitting_none = {
        key: value
        for key, value in filters.items()
        if some and not any(len(rows_of_filter(*one, key, value)) for one in some)
    }
    facts = {name for _, snapshot in some for name in snapshot.fact_names()} if fitting_none else ()
    keys = [*_OF_EVERY_CHUNK, *sorted(set(facts) - set(_OF_EVERY_CHUNK))]
    for key in fitting_none:
        if key not in keys:
            raise InvalidInput(
                f"--filter {key}: no chunk has such a fact{did_you_mean(key, keys)}",
                hint=f"the keys here: {', '.join(keys)}",
            )
    return [_note(some, key, value) for key, value in fitting_none.items()]


def _note(asked: Searched, key: str, value: str) -> str:
    if key == "path":
        return f"no indexed file fits path={value}"
    if key == "domain":
        return f"domain={value} was not searched; {_there_are(one.label for one, _ in asked)}"
    values: set[str] = set()
    for _, snapshot in asked:
        values.update(snapshot.kinds() if key == "kind" else snapshot.fact_values(key))
    return f"no chunk has {key}={value}; {_there_are(values)}"


def _there_are(values: Iterable[str]) -> str:
    known = sorted(values)
    rest = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known[:_NAMED])}{rest}"
