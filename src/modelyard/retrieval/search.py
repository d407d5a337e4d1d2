"""Search: a query in words, and the chunks of several indexes that answer it, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder, Modality, SearchRules
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import Encoders, EncoderUnavailable
from modelyard.retrieval.answerable import is_answered, nothing_answers
from modelyard.retrieval.candidates import Candidate, SearchedIndex, find_candidates, merge
from modelyard.retrieval.damage import IndexDamaged, IndexMissing
from modelyard.retrieval.filters import explain_no_match
from modelyard.retrieval.index_snapshot import IndexSnapshot, OpenedIndex, check_index
from modelyard.retrieval.indexes import (
    SearchIndex,
    SearchSettings,
    choose_indexes,
    load_search_settings,
    require_modality,
    update_command,
    where_to_declare,
)
from modelyard.retrieval.links import Linkable
from modelyard.retrieval.query import Query, parse_query
from modelyard.retrieval.results import SearchResults, build_results, note_stale
from modelyard.retrieval.terms import TERMS_VERSION
from modelyard.retrieval.vectors import Floats

if TYPE_CHECKING:
    from modelyard.retrieval.reranking import Reranker

_DEFAULT_RULES = SearchRules(groups=(), candidates=100)
_KEPT_QUERIES = 256
"""Queries whose vectors a Searcher keeps, those that were asked last."""
_NO_TERMS = (
    "the query has no search terms, only signs or stop words: results are ranked by meaning alone "
    "and are a guess"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """How far a query may go for its vector."""

    local_only: bool = False
    """Whether no byte of it may leave this machine."""
    within_s: float | None = None
    """How long an encoder behind an API is waited for, in seconds."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The vector of a query by one encoder, or why there is none."""

    vector: Floats | None = None
    fingerprint: str | None = None
    lacking: str | None = None


class Searcher:
    """Searches one project many times; what was loaded stays in memory while it is current."""

    def __init__(
        self,
        project: Project,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        settings: SearchSettings | None = None,
        encoders: Encoders | None = None,
        progress: Progress | None = None,
    ) -> None:
        """settings: default: what the configs of the environment say."""
        self._project = project
        self._environment = environment
        settings = settings or load_search_settings(project, environment)
        self._indexes = settings.indexes
        self._rules = settings.rules or _DEFAULT_RULES
        self._progress = progress or Silent()
        self._encoders = encoders or Encoders(project=project, progress=self._progress)
        self._opened: dict[str, OpenedIndex] = {}
        self._query_vectors: dict[tuple[Encoder, str], Floats] = {}
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
        modality: Modality | None = None,
        limits: QueryLimits | None = None,
        per_file: int | None = None,
    ) -> SearchResults:
        """The best chunks of these indexes (default: of the groups that the config names).

        filters: `path` (a glob), `kind`, `domain`, or any fact of a chunk; all must match.
        modality: only those of these indexes that are for it.
        rerank: rerank the best with the config's cross-encoder, where it names one.
        per_file: results of one file, at most; without it, one of code and two of prose, and more
        only where other files leave places.
        limits: how far the query may go for its vector. Without, an encoder that cannot be had is
        an error; with them, its indexes are searched by their terms only, and a note says so.
        Raises InvalidInput for an empty query, a modality that none of them is for, a filter whose
        key no chunk has or a reranker that cannot be used, and NoData when none of the indexes is
        built.
        """
        query = parse_query(text)
        if not query.text:
            raise InvalidInput("the query is empty", hint='say what to look for: "roll back"')
        chosen = choose_indexes(self._indexes, indexes, groups=self._rules.groups)
        if modality is not None:
            chosen = require_modality(chosen, modality)
        reranker = self._require_reranker() if rerank else None  # before anything is searched
        unusable: dict[str, ModelyardError] = {}
        while True:
            try:
                return self._search(
                    query,
                    chosen,
                    unusable,
                    filters=filters or {},
                    top=top or self._rules.top,
                    related=related,
                    reranker=reranker,
                    limits=limits,
                    per_file=per_file,
                )
            except IndexDamaged:  # found only while reading, so it is not known which one
                damaged = _find_damaged([index for index in chosen if index.label not in unusable])
                if not damaged:
                    raise
                unusable |= damaged

    def _search(
        self,
        query: Query,
        chosen: Sequence[SearchIndex],
        unusable: Mapping[str, ModelyardError],
        *,
        filters: Mapping[str, str],
        top: int,
        related: bool,
        reranker: Reranker | None,
        limits: QueryLimits | None,
        per_file: int | None,
    ) -> SearchResults:
        """Search one snapshot of each index; `unusable` ones are left out and noted."""
        wanted = max(top, reranker.count) if reranker else top
        notes = [] if query.terms or query.phrases else [_NO_TERMS]
        with ExitStack() as stack:
            opened = self._open(chosen, unusable, query, stack, notes, limits)
            candidates: list[Candidate] = []
            others: list[Linkable] = []
            asked: list[SearchedIndex] = []
            for index, snapshot, vector in opened:
                searched, found = find_candidates(
                    index,
                    snapshot,
                    query,
                    vector,
                    filters=filters,
                    depth=self._rules.candidates,
                    wanted=wanted,
                )
                asked.append(searched)
                candidates += found
                rows = np.array(sorted(each.row for each in found), np.int64)
                others.append(Linkable(index.label, snapshot, rows))
            if filters and not any(searched.allowed for searched in asked):
                pairs = [(index, snapshot) for index, snapshot, _ in opened]
                notes += explain_no_match(pairs, filters)
            hits = merge(candidates, wanted, per_file=per_file)
            if reranker is not None:
                hits = reranker.order(query, hits)
            results = build_results(self._project, query, hits[:top], others if related else [])
        answered = is_answered(asked)
        if answered is False and results and query.terms:
            notes.append(nothing_answers(asked))
        return SearchResults(
            query=query,
            results=tuple(results),
            asked=tuple(asked),
            answered=answered,
            reranker=reranker.name if reranker else None,
            notes=(*notes, *note_stale(results, self._environment)),
        )

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def _require_reranker(self) -> Reranker | None:
        if self._reranker is None and self._rules.reranker:
            from modelyard.retrieval.reranking import open_reranker

            self._reranker = open_reranker(
                self._project,
                self._rules.reranker,
                count=self._rules.reranked,
                progress=self._progress,
            )
        return self._reranker

    def _open(
        self,
        chosen: Sequence[SearchIndex],
        unusable: Mapping[str, ModelyardError],
        query: Query,
        stack: ExitStack,
        notes: list[str],
        limits: QueryLimits | None,
    ) -> list[tuple[SearchIndex, IndexSnapshot, Floats | None]]:
        """The indexes that are built, each with the query's vector for its encoder.

        One that cannot be read is left out with a note, unless none is left.
        """
        paths = {index.label: index.readable_path for index in chosen}
        built = [index for index in chosen if paths[index.label].exists()]
        missing = [index.label for index in chosen if index not in built]
        if not chosen:
            raise NoData(
                f"no search index is declared in {self._environment}",
                hint=where_to_declare(self._environment),
            )
        if missing:
            command = update_command(missing if len(missing) == 1 else [], self._environment)
            if not built:
                raise NoData(
                    f"no index yet in {self._environment}: {', '.join(missing)}",
                    hint=f"`{command}` makes what is missing",
                )
            notes.append(
                f"not searched, no index yet: {', '.join(missing)} (`{command}` makes what is "
                "missing)"
            )
        encoders = dict.fromkeys(index.encoder for index in built)
        encoded = {settings: self._encode(settings, query, limits) for settings in encoders}
        opened: list[tuple[SearchIndex, IndexSnapshot, Floats | None]] = []
        refused = dict(unusable)
        for index in built:
            if index.label in refused:
                continue
            reader = self._reader_of(index.label, paths[index.label])
            try:
                snapshot = stack.enter_context(reader.reading())
            except IndexMissing:
                notes.append(f"not searched, the index is gone: {index.label}")
                continue
            except ModelyardError as error:
                refused[index.label] = error
                continue
            found = encoded[index.encoder]
            vector = found.vector
            if found.lacking is not None:
                notes.append(f"{index.label} was searched by its terms only: {found.lacking}")
            elif found.fingerprint != snapshot.meta.encoder:
                notes.append(
                    f"{index.label} was searched by its terms only: another encoder made its "
                    f"vectors (`{update_command([index.label], self._environment)}` rebuilds it)"
                )
                vector = None
            if snapshot.meta.terms != TERMS_VERSION:
                notes.append(
                    f"{index.label} has the terms of another version of modelyard "
                    f"(`{update_command([index.label], self._environment)}` rebuilds it)"
                )
            opened.append((index, snapshot, vector))
        if refused and not opened:
            raise next(iter(refused.values()))
        notes += [
            f"not searched, {label}: the index {error.message} ({error.hint})"
            for label, error in refused.items()
        ]
        return opened

    def _encode(self, settings: Encoder, query: Query, limits: QueryLimits | None) -> _Encoded:
        """The query's vector, or within limits why there is none."""
        if limits is None:
            encoder = self._encoders.open(settings)
            return _Encoded(self._query_vector(settings, query.text), encoder.fingerprint)
        if limits.local_only and not self._encoders.stays_here(settings):
            return _Encoded(
                lacking="this domain is local_only, and its encoder is not on this machine"
            )
        try:
            encoder = self._encoders.open(settings)
            vector = self._query_vector(settings, query.text, within_s=limits.within_s)
        except EncoderUnavailable as error:
            return _Encoded(lacking=str(error))
        return _Encoded(vector, encoder.fingerprint)

    def _query_vector(
        self, settings: Encoder, text: str, *, within_s: float | None = None
    ) -> Floats:
        """The vector of a query; those of the last queries are kept, in memory only.

        Queries may be secret, so neither they nor their vectors are written anywhere.
        """
        key = settings, text
        vector = self._query_vectors.pop(key, None)
        if vector is None:
            vector = self._encoders.open(settings).encode_query(text, within_s=within_s)
        self._query_vectors[key] = vector  # last, as the newest
        if len(self._query_vectors) > _KEPT_QUERIES:
            del self._query_vectors[next(iter(self._query_vectors))]
        return vector

    def _reader_of(self, label: str, path: Path) -> OpenedIndex:
        """The open index; opened again when an update has given the index its own file."""
        reader = self._opened.get(label)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._opened[label] = OpenedIndex(path)
        return reader


def search(
    project: Project,
    text: str,
    *,
    indexes: Sequence[str] = (),
    top: int | None = None,
    filters: Mapping[str, str] | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    settings: SearchSettings | None = None,
    rerank: bool = True,
    modality: Modality | None = None,
    per_file: int | None = None,
    progress: Progress | None = None,
) -> SearchResults:
    """One search, as `Searcher.search` does it; a Searcher is faster from the second one on."""
    with closing(
        Searcher(project, environment=environment, settings=settings, progress=progress)
    ) as searcher:
        return searcher.search(
            text,
            indexes=indexes,
            top=top,
            filters=filters,
            rerank=rerank,
            modality=modality,
            per_file=per_file,
        )


def _find_damaged(indexes: Sequence[SearchIndex]) -> dict[str, ModelyardError]:
    """The damaged indexes, each with what is wrong; reads all of each."""
    damaged: dict[str, ModelyardError] = {}
    for index in indexes:
        try:
            check_index(index.readable_path)
        except IndexDamaged as error:
            damaged[index.label] = error
        except ModelyardError:  # opening the index reports it, or it is missing
            continue
    return damaged
