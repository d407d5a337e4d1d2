"""How good a ranking is: nDCG, recall and MRR of meaning, words and their mix, side by side.

A public set brings a corpus, which gets an index of its own (evaluating/corpus.py); queries of
one's own are asked of the project's indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.encoders import Encoders, TextEncoder
from modelyard.retrieval.evaluating.corpus import corpus_index, look_of
from modelyard.retrieval.evaluating.judged import (
    Judged,
    Qrels,
    find_qrels,
    load_corpus,
    load_judged,
)
from modelyard.retrieval.evaluating.measures import MEASURES, Figure, bootstrap
from modelyard.retrieval.indexes import (
    SearchIndex,
    choose_indexes,
    default_search_rules,
    load_indexes,
)
from modelyard.retrieval.opened import OpenedIndex, Snapshot
from modelyard.retrieval.query import understand
from modelyard.retrieval.ranking import (
    CODE,
    TEXT,
    Floats,
    Manner,
    Rows,
    ideal_score,
    manner_of,
    rank,
)

TEXT_DENSE = 0.6
CODE_DENSE = 0.8
_DEPTH = 100

Side = Literal["dense", "words", "fused"]
Names = Sequence[tuple[str, ...]]
"""What answers may call each chunk: its document or file first, then PATH:LINE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure of the two sides and of their mix."""

    dense: Figure
    """By meaning alone."""
    words: Figure
    """By words alone."""
    fused: Figure
    """As `models search` ranks."""
    gain: Figure
    """Fused less the better of the two sides, query by query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well one set of queries was answered."""

    name: str
    """The folder, or the index."""
    encoder: str
    """The model that made the vectors, as the config names it."""
    queries: int
    """How many were judged."""
    chunks: int
    """How many there were to find."""
    dense_weight: float
    """The share of the dense side in the mix."""
    answers: int
    """How many chunks or documents the answers name."""
    unknown: tuple[str, ...]
    """Those of them that name nothing there, and so cannot be found."""
    measures: Mapping[str, Measure]
    """By name: nDCG@10, recall@10, recall@100, MRR."""


def evaluate_search(
    project: Project,
    source: Path,
    *,
    qrels: Path | None = None,
    indexes: Sequence[str] = (),
    kind: Literal["text", "code"] | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    open_encoder: Callable[[Project, Encoder], TextEncoder] | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Judge the ranking by queries whose answers are known.

    source: a folder in BEIR's layout, or a file of queries for the project's own indexes, where a
    document's name is PATH or PATH:LINE.
    indexes: whose chunks are judged, or whose encoder, where the corpus is a folder's; default:
    those of the groups that a search asks.
    Raises InvalidInput for files in another layout, and NoData when no query has an answer, or all
    answers name nothing.
    """
    progress = progress or Silent()
    if not source.exists():
        raise InvalidInput("cannot be read: there is no such file or folder", where=str(source))
    known = load_indexes(project, environment)
    rules = default_search_rules(project, environment)
    groups = rules.groups if rules else ()
    if source.is_dir():
        judged = load_judged(source / "queries.jsonl", qrels or find_qrels(source))
        settings = _one_encoder(choose_indexes(known, indexes, groups=groups), indexes)
        corpus = load_corpus(source / "corpus.jsonl")
        kind = kind or look_of(corpus)
        encoders = _Encoders(project, progress, open_encoder)
        with corpus_index(project, corpus, kind, settings, encoders, progress) as snapshot:
            names = _names_of_documents(snapshot)
            weight = TEXT_DENSE if kind == "text" else CODE_DENSE
            manner = TEXT if kind == "text" else CODE
            encoder = encoders.open(settings)
            runs = _run(judged, snapshot, names, encoder, weight, manner, progress)
            return _require_answers(
                [
                    _judge(
                        source.resolve().name,
                        judged,
                        runs,
                        names,
                        encoder=settings.model,
                        weight=weight,
                    )
                ]
            )
    judged = load_judged(source, qrels or find_qrels(source.parent))
    encoders = _Encoders(project, progress, open_encoder)
    found = [
        _evaluate_index(index, judged, encoders, progress)
        for index in choose_indexes(known, indexes, groups=groups)
        if index.path.is_file()
    ]
    if not found:
        raise NoData(
            f"no index yet: {', '.join(indexes) or 'of any index'}",
            hint="make it with `models update-embeddings`",
        )
    return _require_answers(found)


def _one_encoder(chosen: Sequence[SearchIndex], words: Sequence[str]) -> Encoder:
    """The encoder that is judged by a corpus of its own: the named index's, else the first."""
    if not chosen:
        raise NoData("no search index is declared, so there is no encoder to judge")
    if words and len({(one.encoder.source, one.encoder.model) for one in chosen}) > 1:
        raise InvalidInput(
            "these indexes have several encoders, and a folder is judged by one",
            hint="name one --domain",
        )
    return chosen[0].encoder


def _require_answers(found: list[Evaluation]) -> list[Evaluation]:
    """The same; figures of zero would be no verdict where no answer can be found at all."""
    if all(len(one.unknown) == one.answers for one in found):
        some = ", ".join(found[0].unknown[:3])
        raise NoData(
            f"no answer names a chunk of {', '.join(one.name for one in found)}: {some} ...",
            hint="an answer is PATH or PATH:LINE as a result shows it, or the _id of a document",
        )
    return found


class _Encoders(Encoders):
    """The encoders of the project, or of a test."""

    def __init__(
        self,
        project: Project,
        progress: Progress,
        open_encoder: Callable[[Project, Encoder], TextEncoder] | None,
    ) -> None:
        super().__init__(project=project, progress=progress)
        self._given = open_encoder

    def fingerprint(self, settings: Encoder) -> str:
        if self._given is not None:
            return self._given(self.project, settings).fingerprint
        return super().fingerprint(settings)

    def open(self, settings: Encoder, *, texts: int = 0) -> TextEncoder:
        if self._given is not None:
            return self._given(self.project, settings)
        return super().open(settings, texts=texts)


def _evaluate_index(
    index: SearchIndex, judged: Judged, encoders: _Encoders, progress: Progress
) -> Evaluation:
    weight = index.fusion.dense
    manner = manner_of(index.settings.chunker)
    with closing(OpenedIndex(index.path)) as opened, opened.reading() as snapshot:
        if snapshot.meta.encoder != encoders.fingerprint(index.encoder):
            raise InvalidInput(
                f"the index {index.label} was made by another encoder",
                hint="make it anew with `models update-embeddings`",
            )
        names = _names_of_chunks(snapshot, judged.qrels)
        encoder = encoders.open(index.encoder)
        runs = _run(judged, snapshot, names, encoder, weight, manner, progress)
        return _judge(index.label, judged, runs, names, encoder=index.encoder.model, weight=weight)


def _run(
    judged: Judged,
    snapshot: Snapshot,
    names: Names,
    encoder: TextEncoder,
    weight: float,
    manner: Manner,
    progress: Progress,
) -> dict[Side, dict[str, list[str]]]:
    """The documents that each side ranks best for each query."""
    runs: dict[Side, dict[str, list[str]]] = {"dense": {}, "words": {}, "fused": {}}
    progress.begin("ask", len(judged.queries), "queries")
    for done, (id, text) in enumerate(judged.queries.items(), 1):
        query = understand(text)
        vector = encoder.encode_query(query.text)
        bm25 = snapshot.postings.bm25(query.terms, manner.title_weight)
        ideal = ideal_score([snapshot.postings.idf(term) for term in query.terms])
        mixed = rank(
            vector,
            snapshot.vectors,
            bm25,
            ideal,
            dense_weight=weight,
            manner=manner,
            depth=2 * _DEPTH,
        )
        orders: dict[Side, Rows] = {
            "fused": mixed.rows,
            "dense": _order(snapshot.vectors.closeness(vector)),
            "words": _order(bm25, above=0.0),
        }
        for side, rows in orders.items():
            runs[side][id] = _documents(rows, names, judged.qrels[id])
        progress.advance(done)
    progress.end()
    return runs


def _order(scores: Floats, above: float = -np.inf) -> Rows:
    best = np.argsort(-scores, kind="stable")[: 10 * _DEPTH]
    return best[scores[best] > above]


def _documents(rows: Rows, names: Names, answers: Mapping[str, float]) -> list[str]:
    """What these chunks are to one query: its answers where they are some, else their files.

    Each once, where its best chunk stands.
    """
    found: dict[str, None] = {}
    for row in rows.tolist():
        found |= dict.fromkeys([one for one in names[row] if one in answers] or names[row][:1])
    return list(found)[:_DEPTH]


def _judge(
    name: str,
    judged: Judged,
    runs: Mapping[Side, Mapping[str, Sequence[str]]],
    names: Names,
    *,
    encoder: str,
    weight: float,
) -> Evaluation:
    measures = {}
    for label, measure in MEASURES.items():
        sides = {
            side: np.array([measure(run[id], judged.qrels[id]) for id in judged.queries])
            for side, run in runs.items()
        }
        better = max(sides["dense"], sides["words"], key=lambda side: float(side.mean()))
        measures[label] = Measure(
            dense=bootstrap(sides["dense"]),
            words=bootstrap(sides["words"]),
            fused=bootstrap(sides["fused"]),
            gain=bootstrap(sides["fused"] - better),
        )
    answers = {answer for id in judged.queries for answer in judged.qrels[id]}
    return Evaluation(
        name=name,
        encoder=encoder,
        queries=len(judged.queries),
        chunks=len(names),
        dense_weight=weight,
        answers=len(answers),
        unknown=tuple(sorted(answers.difference(*names))),
        measures=measures,
    )


def _names_of_documents(snapshot: Snapshot) -> Names:
    sources = snapshot.sources(np.arange(len(snapshot)))
    return [(sources[row].path,) for row in range(len(snapshot))]


def _names_of_chunks(snapshot: Snapshot, qrels: Qrels) -> Names:
    """PATH, and PATH:LINE for each line in the chunk that some answer names."""
    wanted: dict[str, set[int]] = {}
    for grades in qrels.values():
        for name in grades:
            path, _, line = name.rpartition(":")
            if path and line.isdigit():
                wanted.setdefault(path, set()).add(int(line))
    names = []
    for one in snapshot.chunks(np.arange(len(snapshot))):
        lines = [at for at in wanted.get(one.path, ()) if one.first_line <= at <= one.last_line]
        names.append((one.path, *(f"{one.path}:{at}" for at in lines)))
    return names
