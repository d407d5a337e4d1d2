"""What counts in code besides meaning and terms: a file is found by all of it, not by one chunk.

definition   the chunk defines what the query names, and does not merely use it
path         words of the query are in the path of the file
file         other chunks of the same file are good too

Each is added to a chunk's score. How much of each was chosen on questions and symbols over eight
public repositories; docs/search.md has the figures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from modelyard.retrieval.index_snapshot import ChunkSource, IndexSnapshot
from modelyard.retrieval.postings import merge_rows
from modelyard.retrieval.query import Query
from modelyard.retrieval.ranking import Ranked
from modelyard.retrieval.terms import find_words, index_terms
from modelyard.retrieval.vectors import Floats, Rows

DEFINITION = 0.4
"""What is added for a definition of a name in the query; a half where only its case differs."""
OF_ITS_CONTAINER = 0.2
"""What is added to that where the query names the class or namespace around it too: `fs::open`."""
PATH = 0.25
"""What is added where the path has all terms of the query; less by the idf of those it lacks."""
_OTHER, _EACH = 0.2, 0.7
"""Share of a file's next best chunk that is added, and of each further one to the one before."""
_OTHERS = 5
_COMPARED = 300
"""Chunks among which others of a file are looked for; what they have above the last one counts."""
_DEFINITIONS = 200
"""Chunks with a name in their title that become candidates, at most."""

_ASIDE = re.compile(
    r"(?:^|/)(?:tests?|testing|specs?|__tests__|testdata|examples?|bench(?:marks?)?)/"
    r"|(?:^|/)(?:test|spec)_[^/]*$|[_.-](?:test|spec|bench)\.[^/.]+$|(?:Tests?|Spec)\.[a-z]+$"
)
_ASKS_ASIDE = re.compile(r"\b(?:tests?|testing|specs?|examples?|bench(?:marks?)?)\b", re.IGNORECASE)


def is_aside(path: str) -> bool:
    """Whether a file holds tests, examples or benchmarks, which use what others define."""
    return _ASIDE.search(path) is not None


def asks_for_asides(query: Query) -> bool:
    """Whether a query is about tests, examples or benchmarks."""
    return _ASKS_ASIDE.search(query.text) is not None


def rows_of_definitions(query: Query, snapshot: IndexSnapshot) -> Rows:
    """Chunks that may define what the query names: they have the name in their title."""
    found = []
    for symbol in query.symbols:
        terms = [has[-1] for _, _, has in find_words(_last_name(symbol)) if has]
        if terms:
            places = snapshot.postings.places(terms[-1])
            found.append(places.rows[places.in_title > 0][:_DEFINITIONS])
    return reduce(merge_rows, found, np.zeros(0, np.int64))


def code_boosts(
    query: Query, ranked: Ranked, sources: Mapping[int, ChunkSource], snapshot: IndexSnapshot
) -> list[dict[str, float]]:
    """What is added to the score of each candidate, by name, in their order."""
    rows = ranked.rows.tolist()
    found: list[dict[str, float]] = [{} for _ in rows]
    names = frozenset(map(_last_name, query.symbols))
    lowered = frozenset(map(str.lower, names))
    qualified = frozenset(tuple(parts[-2:]) for parts in map(_parts, query.symbols) if parts[1:])
    paths = _PathWords(query, snapshot)
    for boosts, row in zip(found, rows, strict=True):
        source = sources[row]
        defined = _defined(source)
        if not defined.isdisjoint(names):
            within = OF_ITS_CONTAINER * (not qualified.isdisjoint(_defined_within(source)))
            boosts["definition"] = DEFINITION + within
        elif not lowered.isdisjoint(map(str.lower, defined)):
            boosts["definition"] = DEFINITION / 2
        if share := paths.share(source.path):
            boosts["path"] = PATH * share
    scores = ranked.fused + np.array([sum(boosts.values()) for boosts in found], np.float32)
    others = _other_chunks([sources[row].path for row in rows], scores)
    for boosts, row in zip(found, rows, strict=True):
        if other := others.get(sources[row].path):
            boosts["file"] = other
    return found


def _parts(symbol: str) -> list[str]:
    """`Page` and `render` of `Page.render()`, `Page::render` and `Page#render`."""
    return re.split(r"\.|::|->|#", symbol.rstrip("()"))


def _last_name(symbol: str) -> str:
    """`render` of `Page.render()`."""
    return _parts(symbol)[-1]


def _defined(source: ChunkSource) -> set[str]:
    """The names that a chunk defines, without what they are in."""
    return {_last_name(source.symbol), *source.members.split()} - {""}


def _defined_within(source: ChunkSource) -> set[tuple[str, ...]]:
    """Each of them with the class or namespace around it, where there is one."""
    *_, container, name = ("", *_parts(source.symbol))
    return {(container, name), *((name, member) for member in source.members.split())}


class _PathWords:
    """The share of a query's terms, weighted by idf, that a path has."""

    def __init__(self, query: Query, snapshot: IndexSnapshot) -> None:
        self._idf = {term: snapshot.postings.idf(term) for term in query.terms}
        self._all = sum(self._idf.values())
        self._known: dict[str, float] = {}

    def share(self, path: str) -> float:
        known = self._known.get(path)
        if known is None:
            has = self._idf.keys() & index_terms(path).split()
            known = sum(self._idf[term] for term in has) / self._all if has else 0.0
            self._known[path] = known
        return known


def _other_chunks(paths: Sequence[str], scores: Floats) -> dict[str, float]:
    """What the chunks of each file beside its best add, by path."""
    order = np.argsort(-scores, kind="stable")[:_COMPARED].tolist()
    least = float(scores[order[-1]]) if order else 0.0
    counts: dict[str, int] = {}
    added: dict[str, float] = {}
    for at in order:
        path = paths[at]
        place = counts[path] = counts.get(path, -1) + 1
        if 0 < place <= _OTHERS:
            above = float(scores[at]) - least
            added[path] = added.get(path, 0.0) + _OTHER * _EACH ** (place - 1) * above
    return added
