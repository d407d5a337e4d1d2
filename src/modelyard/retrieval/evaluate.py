"""How good a ranking is: nDCG, recall and MRR of meaning, words and their mix, side by side.

Public sets come in BEIR's layout (Thakur et al., BEIR, 2021): `corpus.jsonl` and `queries.jsonl`
with `_id`, `title` and `text`, and `qrels/*.tsv` with query, document and grade. Their corpus gets
an index of its own through the code that every domain uses, and the embedding cache.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Yard
from modelyard.core.progress import Progress, Silent
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.domains import Domain, choose_domains, load_domains
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.encoders import Encoders
from modelyard.retrieval.encoding import TextEncoder
from modelyard.retrieval.opened import OpenedIndex, Snapshot
from modelyard.retrieval.passage import Passage
from modelyard.retrieval.query import understand
from modelyard.retrieval.ranking import CODE, TEXT, Floats, Manner, ideal_score, manner_of, rank
from modelyard.retrieval.revise import FileRecord, build_beside

TEXT_DENSE = 0.6
CODE_DENSE = 0.8
_DEPTH = 100
_RESAMPLES = 2_000
_CODE = re.compile(r"^\s*(?:def|class|function|public|private|static|func|fn|import)\b", re.M)
_NAMED = re.compile(r"(?:def|class)\s+(\w+)")
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.S)
_END_OF_SUMMARY = re.compile(
    r"\n\s*\n|\n\s*[:@](?:param|return|type)|\n\s*(?:Args|Parameters|Returns)\b"
)
_LONGEST_SUMMARY = 300

Figures = npt.NDArray[np.float64]
Qrels = Mapping[str, Mapping[str, float]]
Side = Literal["dense", "words", "fused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean over queries, with the 95% interval of a bootstrap over them."""

    value: float
    """The mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""

    @property
    def shown(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


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
    """The folder, or the domain."""
    queries: int
    """How many were judged."""
    passages: int
    """How many there were to find."""
    dense_weight: float
    """The share of the dense side in the mix."""
    measures: Mapping[str, Measure]
    """By name: nDCG@10, recall@10, recall@100, MRR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """Queries with what answers each of them."""

    queries: Mapping[str, str]
    qrels: Qrels


def evaluate_search(
    yard: Yard,
    source: Path,
    *,
    qrels: Path | None = None,
    domains: Sequence[str] = (),
    kind: Literal["text", "code"] | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    open_encoder: Callable[[Yard, Encoder], TextEncoder] | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Judge the ranking by queries whose answers are known.

    source: a folder in BEIR's layout, or a file of queries for the yard's own domains, where a
    document's name is PATH or PATH:LINE.
    Raises InvalidInput for files in another layout, and NoData when no query has an answer.
    """
    progress = progress or Silent()
    if not source.exists():
        raise InvalidInput("cannot be read: there is no such file or folder", where=str(source))
    known = load_domains(yard, environment)
    if source.is_dir():
        judged = _read_judged(source / "queries.jsonl", qrels or _find_qrels(source))
        chosen = choose_domains(known, domains) if domains else list(known.values())
        if not chosen:
            raise NoData("no search domain is declared, so there is no encoder to judge")
        corpus = _read_corpus(source / "corpus.jsonl")
        kind = kind or _look_of(corpus)
        encoders = _Encoders(yard, progress, open_encoder)
        with _corpus_index(yard, corpus, kind, chosen[0].encoder, encoders, progress) as snapshot:
            names = _names_of_documents(snapshot)
            weight = TEXT_DENSE if kind == "text" else CODE_DENSE
            manner = TEXT if kind == "text" else CODE
            encoder = encoders.open(chosen[0].encoder)
            runs = _run(judged, snapshot, names, encoder, weight, manner, progress)
            return [_judge(source.resolve().name, judged, runs, len(snapshot), weight)]
    judged = _read_judged(source, qrels or _find_qrels(source.parent))
    encoders = _Encoders(yard, progress, open_encoder)
    return [
        _evaluate_domain(domain, judged, encoders, progress)
        for domain in choose_domains(known, domains)
        if domain.index.is_file()
    ] or _no_index(domains)


def _no_index(domains: Sequence[str]) -> list[Evaluation]:
    raise NoData(
        f"no index yet: {', '.join(domains) or 'of any domain'}",
        hint="make it with `models update-embeddings`",
    )


class _Encoders(Encoders):
    """The encoders of the yard, or of a test."""

    def __init__(
        self,
        yard: Yard,
        progress: Progress,
        open_encoder: Callable[[Yard, Encoder], TextEncoder] | None,
    ) -> None:
        super().__init__(yard=yard, progress=progress)
        self._given = open_encoder

    def fingerprint(self, settings: Encoder) -> str:
        if self._given is not None:
            return self._given(self.yard, settings).fingerprint
        return super().fingerprint(settings)

    def open(self, settings: Encoder, *, texts: int = 0) -> TextEncoder:
        if self._given is not None:
            return self._given(self.yard, settings)
        return super().open(settings, texts=texts)


def _evaluate_domain(
    domain: Domain, judged: _Judged, encoders: _Encoders, progress: Progress
) -> Evaluation:
    weight = domain.fusion.dense
    manner = manner_of(domain.settings.chunker)
    with closing(OpenedIndex(domain.index)) as index, index.reading() as snapshot:
        if snapshot.meta.encoder != encoders.fingerprint(domain.encoder):
            raise InvalidInput(
                f"the index of {domain.label} was made by another encoder",
                hint="make it anew with `models update-embeddings`",
            )
        names = _names_of_passages(snapshot, judged.qrels)
        encoder = encoders.open(domain.encoder)
        runs = _run(judged, snapshot, names, encoder, weight, manner, progress)
        return _judge(domain.label, judged, runs, len(snapshot), weight)


def _run(
    judged: _Judged,
    snapshot: Snapshot,
    names: Sequence[str],
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
        runs["fused"][id] = _documents(mixed.rows, names)
        runs["dense"][id] = _documents(_order(snapshot.vectors @ vector), names)
        runs["words"][id] = _documents(_order(bm25, above=0.0), names)
        progress.advance(done)
    progress.end()
    return runs


def _order(scores: Floats, above: float = -np.inf) -> npt.NDArray[np.int64]:
    best = np.argsort(-scores, kind="stable")[: 10 * _DEPTH]
    return best[scores[best] > above]


def _documents(rows: npt.NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """The documents of these passages, each once, where its best passage stands."""
    return list(dict.fromkeys(names[row] for row in rows.tolist()))[:_DEPTH]


def _judge(
    name: str,
    judged: _Judged,
    runs: Mapping[Side, Mapping[str, Sequence[str]]],
    passages: int,
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
    return Evaluation(
        name=name,
        queries=len(judged.queries),
        passages=passages,
        dense_weight=weight,
        measures=measures,
    )


def ndcg(found: Sequence[str], grades: Mapping[str, float], depth: int = 10) -> float:
    """Discounted gain of the first results over the best that could be, as trec_eval has it."""
    gains = [grades.get(name, 0.0) for name in found[:depth]]
    best = sorted(grades.values(), reverse=True)[:depth]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[float]) -> float:
    places = np.log2(np.arange(2, len(gains) + 2))
    return float((np.array(gains) / places).sum())


def recall(found: Sequence[str], grades: Mapping[str, float], depth: int) -> float:
    """The share of what answers that is among the first results."""
    return len(set(found[:depth]) & set(grades)) / len(grades)


def reciprocal_rank(found: Sequence[str], grades: Mapping[str, float]) -> float:
    """One over the place of the first answer; 0 when none of the first hundred is one."""
    return next((1 / place for place, name in enumerate(found, 1) if name in grades), 0.0)


MEASURES: Mapping[str, Callable[[Sequence[str], Mapping[str, float]], float]] = {
    "nDCG@10": ndcg,
    "recall@10": lambda found, grades: recall(found, grades, 10),
    "recall@100": lambda found, grades: recall(found, grades, 100),
    "MRR": reciprocal_rank,
}


def bootstrap(figures: Figures) -> Figure:
    """The mean of one figure a query, with its 95% interval; always the same for the same."""
    drawn = np.random.default_rng(0).integers(0, len(figures), (_RESAMPLES, len(figures)))
    low, high = np.percentile(figures[drawn].mean(axis=1), [2.5, 97.5])
    return Figure(value=float(figures.mean()), low=float(low), high=float(high))


@contextmanager
def _corpus_index(
    yard: Yard,
    corpus: Sequence[tuple[str, str, str]],
    kind: Literal["text", "code"],
    settings: Encoder,
    encoders: _Encoders,
    progress: Progress,
) -> Iterator[Snapshot]:
    """A corpus as an index of one passage a document, gone when the block ends."""
    passages = {name: _passage(title, text) for name, title, text in corpus}
    fingerprint = encoders.fingerprint(settings)
    with open_cache(yard, fingerprint, progress) as cache:
        embedding = Embedding(settings=settings, encoders=encoders, cache=cache, progress=progress)
        vectors = embedding.vectors(passages.values())
    if kind == "code":
        passages, vectors = _with_names(passages, vectors)
    with TemporaryDirectory(prefix="models-search-eval-") as folder:
        place = Path(folder) / "corpus.index"
        with build_beside(
            place,
            encoder=fingerprint,
            dimensions=settings.dimensions,
            chunking="one passage a document",
            code=kind == "code",
        ) as build:
            for name, passage in passages.items():
                build.add_file(_record(name), [passage], vectors)
        with closing(OpenedIndex(place)) as index, index.reading() as snapshot:
            yield snapshot


def _record(name: str) -> FileRecord:
    return FileRecord(
        path=name, sha256="", size_bytes=0, mtime_ns=0, modified_at="1970-01-01T00:00:00Z", seen=""
    )


def _passage(title: str, text: str) -> Passage:
    if title and text.startswith(title):
        text = text[len(title) :].lstrip()
    lines = text.count("\n") + 1
    return Passage(text=text, title=title, kind="document", first_line=1, last_line=lines)


def _with_names(
    passages: Mapping[str, Passage], vectors: Mapping[str, bytes]
) -> tuple[dict[str, Passage], dict[str, bytes]]:
    """Code without titles, called by its own names; they count for the words, not the vectors."""
    called, made = {}, {}
    for name, one in passages.items():
        called[name] = replace(one, title=one.title or title_of_code(one.text))
        made[called[name].digest] = vectors[one.digest]
    return called, made


def title_of_code(text: str) -> str:
    """What code is called: the first name that it defines, and the summary of its docstring."""
    named, documented = _NAMED.search(text), _DOCSTRING.search(text)
    summary = _END_OF_SUMMARY.split(documented[2].strip())[0] if documented else ""
    summary = " ".join(summary.split())[:_LONGEST_SUMMARY]
    return ": ".join(part for part in (named[1] if named else "", summary) if part)


def _look_of(corpus: Sequence[tuple[str, str, str]]) -> Literal["text", "code"]:
    """Code, when most documents have a line that begins as a definition does."""
    like_code = sum(bool(_CODE.search(text)) for _, _, text in corpus)
    return "code" if 2 * like_code > len(corpus) else "text"


def _names_of_documents(snapshot: Snapshot) -> list[str]:
    sources = snapshot.sources(np.arange(len(snapshot)))
    return [sources[row].path for row in range(len(snapshot))]


def _names_of_passages(snapshot: Snapshot, qrels: Qrels) -> list[str]:
    """What the answers call each passage: PATH:LINE of a line in it, else PATH."""
    wanted: dict[str, list[int]] = {}
    for grades in qrels.values():
        for name in grades:
            path, _, line = name.rpartition(":")
            if path and line.isdigit():
                wanted.setdefault(path, []).append(int(line))
    names = []
    for one in snapshot.passages(np.arange(len(snapshot))):
        lines = [at for at in wanted.get(one.path, ()) if one.first_line <= at <= one.last_line]
        names.append(f"{one.path}:{lines[0]}" if lines else one.path)
    return names


def _find_qrels(folder: Path) -> Path:
    """The answers beside the queries: qrels/test.tsv, else the only file there."""
    files = sorted((folder / "qrels").glob("*.tsv"))
    for name in ("test.tsv", "dev.tsv"):
        for file in files:
            if file.name == name:
                return file
    if len(files) != 1:
        raise InvalidInput(
            f"holds {len(files) or 'no'} files of answers, and none is test.tsv",
            where=str(folder / "qrels"),
            hint="name one: --qrels FILE",
        )
    return files[0]


def _read_judged(queries: Path, qrels: Path) -> _Judged:
    """The queries that have an answer."""
    texts = {name: text for name, _, text in _read_rows(queries)}
    grades: dict[str, dict[str, float]] = {}
    for number, row in enumerate(_read_tsv(qrels), 1):
        try:
            query, document, grade = row[0], row[-2], float(row[-1])
        except (ValueError, IndexError) as error:
            if number == 1:
                continue  # the names of the columns
            raise InvalidInput(
                "is not QUERY, DOCUMENT and GRADE with tabs between",
                where=f"{qrels}:{number}",
            ) from error
        if grade > 0:
            grades.setdefault(query, {})[document] = grade
    judged = {name: text for name, text in texts.items() if name in grades and text.strip()}
    if not judged:
        raise NoData(f"no query of {queries} has an answer in {qrels}")
    return _Judged(queries=judged, qrels=grades)


def _read_tsv(path: Path) -> list[list[str]]:
    with _readable(path):
        text = path.read_text()
    return list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _read_corpus(path: Path) -> list[tuple[str, str, str]]:
    rows = list(_read_rows(path))
    if not rows:
        raise NoData(f"{path} holds no document")
    return rows


def _read_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each row of a jsonl file as (_id, title, text)."""
    with _readable(path):
        lines = path.read_text().split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            yield str(row["_id"]), str(row.get("title") or ""), str(row["text"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                "is not a JSON object with _id and text", where=f"{path}:{number}"
            ) from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="BEIR's layout has corpus.jsonl, queries.jsonl and qrels/",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=str(path)) from error
