"""Search: a query in words, and the chunks of several indexes that answer it, best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import TextEncoder
from modelyard.retrieval.asking import Candidate, ask_index
from modelyard.retrieval.damage import IndexDamaged, IndexMissing
from modelyard.retrieval.filters import note_filters
from modelyard.retrieval.freshness import note_stale, state_of_file
from modelyard.retrieval.indexes import (
    SearchIndex,
    choose_indexes,
    default_search_rules,
    load_indexes,
)
from modelyard.retrieval.links import Shown, find_related
from modelyard.retrieval.merging import Found, merge
from modelyard.retrieval.opened import OpenedIndex, Snapshot, check_index
from modelyard.retrieval.query import Query, understand
from modelyard.retrieval.ranking import Floats
from modelyard.retrieval.results import Asked, Result, SearchResults
from modelyard.retrieval.snippets import chunk_snippet

if TYPE_CHECKING:
    from modelyard.retrieval.reranking import Reranker

OpenEncoder = Callable[[Project, Encoder], TextEncoder]

_TOP, _DEPTH = 10, 100
"""Results, and candidates of each side, where no config has search rules."""
_BY_MEANING_ALONE = (
    "the query has no word to look for, only signs or words that stand everywhere: what is found "
    "is a guess by meaning alone"
)


class Searcher:
    """Searches one project again and again; what was loaded stays in memory while it is current."""

    def __init__(
        self,
        project: Project,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        open_encoder: OpenEncoder | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._project = project
        self._indexes = load_indexes(project, environment)
        self._rules = default_search_rules(project, environment)
        self._progress = progress or Silent()
        self._open_encoder = open_encoder or self._open_settled_encoder
        self._encoders: dict[Encoder, TextEncoder] = {}
        self._opened: dict[str, OpenedIndex] = {}
        self._reranker: Reranker | None = None

    def search(
        self,
        text: str,
        *,
        indexes: Sequence[str] = (),
        top: int | None = None,
        filters: Mapping[str, str] | None = None,
        related: bool = True,
        rerank: bool = True,
    ) -> SearchResults:
        """The best chunks of these indexes (default: of the groups that the config names).

        filters: `path` (a glob), `kind`, `domain`, or any fact of a chunk; all must hold.
        rerank: let the config's cross-encoder order the best again, where it names one.
        Raises InvalidInput for an empty query, a filter whose key no chunk has or a reranker that
        is none, and NoData when none of the indexes is built.
        """
        query = understand(text)
        if not query.text:
            raise InvalidInput("the query is empty", hint='say what to look for: "roll back"')
        chosen = choose_indexes(
            self._indexes, indexes, groups=self._rules.groups if self._rules else ()
        )
        reranker = self._require_reranker() if rerank else None  # before anything is searched
        top = top or (self._rules.top if self._rules else _TOP)
        wanted = max(top, reranker.count) if reranker else top
        unusable: dict[str, ModelyardError] = {}
        while True:
            try:
                return self._answer(
                    query,
                    chosen,
                    unusable,
                    filters=filters or {},
                    top=top,
                    wanted=wanted,
                    related=related,
                    reranker=reranker,
                )
            except IndexDamaged:  # met only while it was read, so by one of several
                found = _find_damaged([one for one in chosen if one.label not in unusable])
                if not found:
                    raise
                unusable |= found

    def _answer(
        self,
        query: Query,
        chosen: Sequence[SearchIndex],
        unusable: Mapping[str, ModelyardError],
        *,
        filters: Mapping[str, str],
        top: int,
        wanted: int,
        related: bool,
        reranker: Reranker | None,
    ) -> SearchResults:
        """What is found in one snapshot of each index; `unusable` ones are left out and noted."""
        with ExitStack() as stack:
            notes = [] if query.terms or query.phrases else [_BY_MEANING_ALONE]
            opened = self._open(chosen, unusable, query, stack, notes)
            candidates: list[Candidate] = []
            asked: list[Asked] = []
            for index, snapshot, vector in opened:
                one, some = ask_index(
                    index,
                    snapshot,
                    query,
                    vector,
                    filters=filters,
                    depth=self._rules.candidates if self._rules else _DEPTH,
                    wanted=wanted,
                )
                asked.append(one)
                candidates += some
            if filters and not any(one.allowed for one in asked):
                notes += note_filters([(index, snapshot) for index, snapshot, _ in opened], filters)
            found = merge(candidates, wanted)
            if reranker is not None:
                found = reranker.order(query, found)
            others = [(index.label, snapshot) for index, snapshot, _ in opened]
            results = _show(self._project, query, found[:top], others if related else [])
            notes += note_stale(results)
        return SearchResults(
            query=query,
            results=results,
            asked=tuple(asked),
            reranker=reranker.name if reranker else None,
            notes=tuple(notes),
        )

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def _require_reranker(self) -> Reranker | None:
        if self._reranker is None and self._rules and self._rules.reranker:
            from modelyard.retrieval.reranking import open_reranker

            self._reranker = open_reranker(self._project, self._rules, progress=self._progress)
        return self._reranker

    def _open(
        self,
        chosen: Sequence[SearchIndex],
        unusable: Mapping[str, ModelyardError],
        query: Query,
        stack: ExitStack,
        notes: list[str],
    ) -> list[tuple[SearchIndex, Snapshot, Floats | None]]:
        """The indexes that are built, each with the query's vector for its encoder.

        One that cannot be read is left out with a note, unless none is left.
        """
        there = [index for index in chosen if index.path.exists()]
        missing = [index.label for index in chosen if index not in there]
        if not there:
            raise NoData(
                f"no index yet: {', '.join(missing) or 'no search index is declared'}",
                hint="make them with `models update-embeddings`",
            )
        if missing:
            notes.append(f"not searched, no index yet: {', '.join(missing)}")
        vectors: dict[Encoder, Floats] = {}
        for index in there:
            if index.encoder not in vectors:
                vectors[index.encoder] = self._encode(index, query)
        opened: list[tuple[SearchIndex, Snapshot, Floats | None]] = []
        refused = dict(unusable)
        for index in there:
            if index.label in refused:
                continue
            reader = self._opened.setdefault(index.label, OpenedIndex(index.path))
            try:
                snapshot = stack.enter_context(reader.reading())
            except IndexMissing:
                notes.append(f"not searched, the index is gone: {index.label}")
                continue
            except ModelyardError as error:
                refused[index.label] = error
                continue
            vector: Floats | None = vectors[index.encoder]
            if self._fingerprint(index) != snapshot.meta.encoder:
                notes.append(
                    f"{index.label} was searched by words only: it was made by another "
                    "encoder (`models update-embeddings` makes it anew)"
                )
                vector = None
            opened.append((index, snapshot, vector))
        if refused and not opened:
            raise next(iter(refused.values()))
        notes += [
            f"not searched, {label}: the index {error.message} ({error.hint})"
            for label, error in refused.items()
        ]
        return opened

    def _encode(self, index: SearchIndex, query: Query) -> Floats:
        if index.encoder not in self._encoders:
            self._encoders[index.encoder] = self._open_encoder(self._project, index.encoder)
        return self._encoders[index.encoder].encode_query(query.text)

    def _fingerprint(self, index: SearchIndex) -> str:
        return self._encoders[index.encoder].fingerprint

    def _open_settled_encoder(self, project: Project, settings: Encoder) -> TextEncoder:
        from modelyard.encoders import open_encoder

        return open_encoder(project, settings, for_bulk=False, progress=self._progress)


def search(
    project: Project,
    text: str,
    *,
    indexes: Sequence[str] = (),
    top: int | None = None,
    filters: Mapping[str, str] | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    rerank: bool = True,
    progress: Progress | None = None,
) -> SearchResults:
    """One search; `Searcher` says what it does and raises, and is faster the second time."""
    searcher = Searcher(project, environment=environment, progress=progress)
    try:
        return searcher.search(text, indexes=indexes, top=top, filters=filters, rerank=rerank)
    finally:
        searcher.close()


def _find_damaged(indexes: Sequence[SearchIndex]) -> dict[str, ModelyardError]:
    """The damaged indexes, with what is wrong; reads all of each."""
    found: dict[str, ModelyardError] = {}
    for index in indexes:
        try:
            check_index(index.path)
        except IndexDamaged as error:
            found[index.label] = error
        except ModelyardError:  # opening it says so, or nothing is there
            continue
    return found


def _show(
    project: Project,
    query: Query,
    found: Sequence[Found],
    others: Sequence[tuple[str, Snapshot]],
) -> tuple[Result, ...]:
    results = []
    for text in found:
        one = text.best
        chunk = one.snapshot.chunks(np.array([one.row]))[0]
        places = {
            (other.path, other.first_line)
            for twin in text.twins
            for other in twin.snapshot.chunks(np.array([twin.row]))
        }
        here = (chunk.path, chunk.first_line)
        shown = Shown(index=one.index.label, chunk=chunk, snapshot=one.snapshot, row=one.row)
        results.append(
            Result(
                index=one.index.label,
                chunk=chunk,
                snippet=chunk_snippet(chunk, query.terms),
                scores=one.scores,
                state=state_of_file(project, one.source),
                also=tuple(f"{path}:{line}" for path, line in sorted(places - {here})),
                related=find_related(shown, others),
            )
        )
    return tuple(results)
