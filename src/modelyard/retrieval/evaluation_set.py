"""Evaluation sets: queries with known answers, and their corpus as an index.

They are in BEIR's layout (Thakur et al., BEIR, 2021): `corpus.jsonl` and `queries.jsonl` have
`_id`, `title` and `text`; `qrels/*.tsv` have query, document and grade.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.index_file import FileRecord
from modelyard.retrieval.index_snapshot import IndexSnapshot, OpenedIndex
from modelyard.retrieval.index_writer import build_beside

Document = tuple[str, str, str]
"""_id, title and text."""

_DEFINITION = re.compile(r"^\s*(?:def|class|function|public|private|static|func|fn|import)\b", re.M)
_NAME = re.compile(r"(?:def|class)\s+(\w+)")
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.S)
_END_OF_SUMMARY = re.compile(
    r"\n\s*\n|\n\s*[:@](?:param|return|type)|\n\s*(?:Args|Parameters|Returns)\b"
)
_LONGEST_SUMMARY = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """Queries with the answers of each."""

    queries: Mapping[str, str]
    """Text by _id."""
    qrels: Mapping[str, Mapping[str, float]]
    """For each query the grade of each document or chunk that answers it."""


def find_qrels(folder: Path) -> Path:
    """The file of answers: qrels/test.tsv or qrels/dev.tsv, else the only file there."""
    for name in ("test.tsv", "dev.tsv"):
        if (folder / "qrels" / name).exists():
            return folder / "qrels" / name
    files = sorted((folder / "qrels").glob("*.tsv"))
    if len(files) != 1:
        raise InvalidInput(
            f"holds {len(files) or 'no'} files of answers, and none is test.tsv",
            where=str(folder / "qrels"),
            hint="name one: --qrels FILE",
        )
    return files[0]


def load_evaluation_set(queries: Path, qrels: Path) -> EvaluationSet:
    """The queries that have an answer."""
    texts = {name: text for name, _, text in _read_rows(queries)}
    grades: dict[str, dict[str, float]] = {}
    lines = _read_text(qrels).splitlines()
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, row in enumerate(rows, 1):
        if row in ([], [""]):
            continue
        if len(row) < 3:
            raise _no_answer(qrels, number, "not tab-separated: it")
        try:
            query, document, grade = row[0], row[-2], float(row[-1])
        except ValueError as error:
            if number == 1:
                continue  # the names of the columns
            raise _no_answer(qrels, number, "its grade is no number: it") from error
        if grade > 0:
            grades.setdefault(query, {})[document] = grade
    answered = {name: text for name, text in texts.items() if name in grades and text.strip()}
    if not answered:
        raise NoData(f"no query of {queries} has an answer in {qrels}")
    return EvaluationSet(queries=answered, qrels=grades)


def _no_answer(qrels: Path, number: int, why: str) -> InvalidInput:
    return InvalidInput(
        f"{why} is not QUERY, DOCUMENT and GRADE with tabs between", where=f"{qrels}:{number}"
    )


def load_corpus(path: Path) -> list[Document]:
    """Every document."""
    rows = list(_read_rows(path))
    if not rows:
        raise NoData(f"{path} holds no document")
    return rows


def _read_rows(path: Path) -> Iterator[Document]:
    """Each row of a jsonl file; the _ids are unique."""
    first_seen: dict[str, int] = {}
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            name, title, text = str(row["_id"]), str(row.get("title") or ""), str(row["text"])
        except (InvalidJson, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                "is not a JSON object with _id and text", where=f"{path}:{number}"
            ) from error
        if name in first_seen:
            raise InvalidInput(
                f"has the _id {name!r} of line {first_seen[name]} again",
                where=f"{path}:{number}",
                hint="each document and each query has an _id of its own",
            )
        first_seen[name] = number
        yield name, title, text


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="BEIR's layout has corpus.jsonl, queries.jsonl and qrels/",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=str(path)) from error


@contextmanager
def corpus_index(
    project: Project,
    corpus: Sequence[Document],
    kind: Literal["text", "code"],
    settings: Encoder,
    encoders: Encoders,
    progress: Progress,
) -> Iterator[IndexSnapshot]:
    """An index of a corpus with one chunk a document, deleted when the block ends."""
    chunks = {name: _chunk(title, text) for name, title, text in corpus}
    fingerprint = encoders.fingerprint(settings)
    with open_cache(project, fingerprint, progress) as cache:
        embedding = Embedding(settings=settings, encoders=encoders, cache=cache, progress=progress)
        vectors = embedding.vectors(chunks.values())
    if kind == "code":
        chunks, vectors = _add_titles(chunks, vectors)
    with TemporaryDirectory(prefix="models-search-eval-") as folder:
        place = Path(folder) / "corpus.index"
        with build_beside(
            place,
            encoder=fingerprint,
            dimensions=settings.dimensions,
            chunking="one chunk a document",
        ) as build:
            for name, chunk in chunks.items():
                record = FileRecord(
                    path=name,
                    sha256="",
                    size_bytes=0,
                    mtime_ns=0,
                    modified_at="1970-01-01T00:00:00Z",
                    seen="",
                )
                build.add_file(record, [chunk], vectors)
        with closing(OpenedIndex(place)) as opened, opened.reading() as snapshot:
            yield snapshot


def _chunk(title: str, text: str) -> Chunk:
    if title and text.startswith(title):
        text = text[len(title) :].lstrip()
    lines = text.count("\n") + 1
    return Chunk(text=text, title=title, kind="document", first_line=1, last_line=lines)


def _add_titles(
    chunks: Mapping[str, Chunk], vectors: Mapping[str, bytes]
) -> tuple[dict[str, Chunk], dict[str, bytes]]:
    """Code with titles made of its names, for the lexical score; the vectors stay as they are."""
    titled = {
        name: replace(chunk, title=chunk.title or title_of_code(chunk.text))
        for name, chunk in chunks.items()
    }
    return titled, {titled[name].digest: vectors[chunk.digest] for name, chunk in chunks.items()}


def title_of_code(text: str) -> str:
    """A title for code: the first name that it defines, and the summary of its docstring."""
    named, documented = _NAME.search(text), _DOCSTRING.search(text)
    summary = _END_OF_SUMMARY.split(documented[2].strip())[0] if documented else ""
    summary = " ".join(summary.split())[:_LONGEST_SUMMARY]
    return ": ".join(part for part in (named[1] if named else "", summary) if part)


def detect_kind(corpus: Sequence[Document]) -> Literal["text", "code"]:
    """Code, when most documents have a line that begins like a definition."""
    with_definition = sum(bool(_DEFINITION.search(text)) for _, _, text in corpus)
    return "code" if 2 * with_definition > len(corpus) else "text"
