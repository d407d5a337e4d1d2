"""Sets of queries whose answers are known, each with the index that it is asked of.

A public set has a corpus, which gets its own index (evaluation_set.py); a project's own queries are
asked of the project's indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders, TextEncoder
from modelyard.retrieval.candidates import find_candidates
from modelyard.retrieval.evaluation_set import (
    EvaluationSet,
    corpus_index,
    detect_kind,
    find_qrels,
    load_corpus,
    load_evaluation_set,
)
from modelyard.retrieval.index_snapshot import IndexSnapshot, OpenedIndex
from modelyard.retrieval.indexes import (
    SearchIndex,
    choose_indexes,
    load_search_settings,
    update_command,
    where_to_declare,
)
from modelyard.retrieval.query import Query
from modelyard.retrieval.ranking import CODE, TEXT, RankingSettings, rank, ranking_settings
from modelyard.retrieval.vectors import Floats, Rows

TEXT_DENSE = 0.6
CODE_DENSE = 0.85
DEPTH = 100
"""Documents that are ranked for a query."""

Kind = Literal["text", "code"]
Names = Sequence[tuple[str, ...]]
"""The names by which answers can mean each chunk: its document or file first, then PATH:LINE."""
Order = Callable[[Query, Floats], Rows]
"""The chunks for a query and its vector, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedSet:
    """Queries with their answers, and the index that they are asked of."""

    name: str
    """The folder, or the index."""
    queries: EvaluationSet
    """The queries and their answers."""
    snapshot: IndexSnapshot
    """What is searched."""
    names: Names
    """What answers call its chunks."""
    encoder: TextEncoder
    """What makes the vectors of queries."""
    model: str
    """The encoder as the config names it."""
    dense_weight: float
    """The share of the dense score that the config gives it."""
    settings: RankingSettings
    """How chunks of its kind are ranked."""
    order_by: Callable[[float], Order]
    """The order with this share of the dense score."""

    @property
    def kind(self) -> Kind:
        return "code" if self.settings.by_file else "text"


@contextmanager
def open_evaluated_sets(
    project: Project,
    source: Path,
    *,
    encoders: Encoders,
    progress: Progress,
    qrels: Path | None = None,
    indexes: Sequence[str] = (),
    kind: Kind | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
) -> Iterator[list[EvaluatedSet]]:
    """The set of a folder in BEIR's layout, or of a file of queries one for each index.

    indexes: the indexes that are evaluated, or, for a folder, the one whose encoder is used;
    default: those of the groups that a search uses.
    Raises InvalidInput for files in another layout, and NoData when no query has an answer, or no
    index is built.
    """
    if not source.exists():
        raise InvalidInput("cannot be read: there is no such file or folder", where=str(source))
    declared = load_search_settings(project, environment)
    groups = declared.rules.groups if declared.rules else ()
    chosen = choose_indexes(declared.indexes, indexes, groups=groups)
    with ExitStack() as stack:
        if source.is_dir():
            queries = load_evaluation_set(source / "queries.jsonl", qrels or find_qrels(source))
            settings = _choose_encoder(chosen, indexes, environment)
            corpus = load_corpus(source / "corpus.jsonl")
            kind = kind or detect_kind(corpus)
            snapshot = stack.enter_context(
                corpus_index(project, corpus, kind, settings, encoders, progress)
            )
            ranking = TEXT if kind == "text" else CODE
            sources = snapshot.sources(np.arange(len(snapshot)))
            yield [
                EvaluatedSet(
                    name=source.resolve().name,
                    queries=queries,
                    snapshot=snapshot,
                    names=[(sources[row].path,) for row in range(len(snapshot))],
                    encoder=encoders.open(settings),
                    model=settings.model,
                    dense_weight=_choose_weight(chosen, indexes, kind),
                    settings=ranking,
                    order_by=lambda weight: _order_of_mix(snapshot, weight, ranking),
                )
            ]
            return
        queries = load_evaluation_set(source, qrels or find_qrels(source.parent))
        opened = [
            _open_index(index, queries, encoders, stack, environment)
            for index in chosen
            if index.readable_path.is_file()
        ]
        if not opened:
            raise NoData(
                f"no index yet in {environment}: "
                f"{', '.join(index.label for index in chosen) or 'none is declared'}",
                hint=f"`{update_command(indexes, environment)}` makes what is missing",
            )
        yield opened


def _open_index(
    index: SearchIndex,
    queries: EvaluationSet,
    encoders: Encoders,
    stack: ExitStack,
    environment: str,
) -> EvaluatedSet:
    opened = stack.enter_context(closing(OpenedIndex(index.readable_path)))
    snapshot = stack.enter_context(opened.reading())
    if snapshot.meta.encoder != encoders.fingerprint(index.encoder):
        raise InvalidInput(
            f"the index {index.label} was made by another encoder",
            hint=f"rebuild it with `{update_command([index.label], environment)}`",
        )
    return EvaluatedSet(
        name=index.label,
        queries=queries,
        snapshot=snapshot,
        names=_names_of_chunks(snapshot, queries),
        encoder=encoders.open(index.encoder),
        model=index.encoder.model,
        dense_weight=index.fusion.dense,
        settings=ranking_settings(index.settings.chunker),
        order_by=lambda weight: _order_of_search(
            replace(index, fusion=replace(index.fusion, dense=weight)), snapshot
        ),
    )


def _choose_weight(chosen: Sequence[SearchIndex], named: Sequence[str], kind: Kind) -> float:
    """The dense weight for a corpus: of the index that was named, or the first of its kind.

    An index of descriptions in a group for code is a worse guess for prose than one in a group that
    is for text alone.
    """
    is_code = kind == "code"
    if named:
        return chosen[0].fusion.dense
    of_kind = [
        index for index in chosen if ranking_settings(index.settings.chunker).by_file == is_code
    ]
    alike = [index for index in of_kind if ("code" in index.modalities) == is_code]
    for index in (*alike, *of_kind):
        return index.fusion.dense
    return TEXT_DENSE if kind == "text" else CODE_DENSE


def _choose_encoder(
    chosen: Sequence[SearchIndex], named: Sequence[str], environment: str
) -> Encoder:
    """The encoder that is evaluated on a corpus: the named index's, else the first."""
    if not chosen:
        raise NoData(
            f"no search index is declared in {environment}, so there is no encoder to evaluate",
            hint=where_to_declare(environment),
        )
    if named and len({(index.encoder.source, index.encoder.model) for index in chosen}) > 1:
        raise InvalidInput(
            "these indexes have several encoders, and a folder is evaluated with one",
            hint="name one --domain",
        )
    return chosen[0].encoder


def _names_of_chunks(snapshot: IndexSnapshot, queries: EvaluationSet) -> Names:
    """PATH, and PATH:LINE for each line of the chunk that an answer names."""
    wanted: dict[str, set[int]] = {}
    for grades in queries.qrels.values():
        for name in grades:
            path, _, line = name.rpartition(":")
            if path and line.isdigit():
                wanted.setdefault(path, set()).add(int(line))
    names = []
    for chunk in snapshot.chunks(np.arange(len(snapshot))):
        lines = wanted.get(chunk.path, ())
        inside = [line for line in lines if chunk.first_line <= line <= chunk.last_line]
        names.append((chunk.path, *(f"{chunk.path}:{line}" for line in inside)))
    return names


def _order_of_mix(snapshot: IndexSnapshot, weight: float, settings: RankingSettings) -> Order:
    """By the fused score alone: the documents of a corpus have neither names nor files."""

    def order(query: Query, vector: Floats) -> Rows:
        return rank(
            vector,
            snapshot.vectors,
            snapshot.postings.bm25(query.counts, settings.title_weight),
            snapshot.postings.ideal_bm25(query.counts),
            dense_weight=weight,
            settings=settings,
            depth=2 * DEPTH,
        ).rows

    return order


def _order_of_search(index: SearchIndex, snapshot: IndexSnapshot) -> Order:
    """As `models search` orders the chunks of this index, boosts included."""

    def order(query: Query, vector: Floats) -> Rows:
        _, found = find_candidates(
            index, snapshot, query, vector, filters={}, depth=2 * DEPTH, wanted=10 * DEPTH
        )
        best = sorted(found, key=lambda candidate: (-candidate.scores.final, candidate.row))
        return np.array([candidate.row for candidate in best], np.int64)

    return order


def found_documents(rows: Rows, names: Names, answers: Mapping[str, float]) -> list[str]:
    """The documents of these chunks, each once, in the order of its best chunk.

    A chunk stands for the answers of the query that it matches, else for its file.
    """
    found: dict[str, None] = {}
    for row in rows.tolist():
        matched = [name for name in names[row] if name in answers]
        found |= dict.fromkeys(matched or names[row][:1])
    return list(found)[:DEPTH]
