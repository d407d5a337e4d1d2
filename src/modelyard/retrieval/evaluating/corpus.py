"""The corpus of a judged set as an index of its own, through the code that every index uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.index_file import FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.opened import OpenedIndex, Snapshot

_CODE = re.compile(r"^\s*(?:def|class|function|public|private|static|func|fn|import)\b", re.M)
_NAMED = re.compile(r"(?:def|class)\s+(\w+)")
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.S)
_END_OF_SUMMARY = re.compile(
    r"\n\s*\n|\n\s*[:@](?:param|return|type)|\n\s*(?:Args|Parameters|Returns)\b"
)
_LONGEST_SUMMARY = 300


@contextmanager
def corpus_index(
    project: Project,
    corpus: Sequence[tuple[str, str, str]],
    kind: Literal["text", "code"],
    settings: Encoder,
    encoders: Encoders,
    progress: Progress,
) -> Iterator[Snapshot]:
    """A corpus as an index of one chunk a document, gone when the block ends."""
    chunks = {name: _chunk(title, text) for name, title, text in corpus}
    fingerprint = encoders.fingerprint(settings)
    with open_cache(project, fingerprint, progress) as cache:
        embedding = Embedding(settings=settings, encoders=encoders, cache=cache, progress=progress)
        vectors = embedding.vectors(chunks.values())
    if kind == "code":
        chunks, vectors = _with_names(chunks, vectors)
    with TemporaryDirectory(prefix="models-search-eval-") as folder:
        place = Path(folder) / "corpus.index"
        with build_beside(
            place,
            encoder=fingerprint,
            dimensions=settings.dimensions,
            chunking="one chunk a document",
        ) as build:
            for name, chunk in chunks.items():
                build.add_file(_record(name), [chunk], vectors)
        with closing(OpenedIndex(place)) as opened, opened.reading() as snapshot:
            yield snapshot


def _record(name: str) -> FileRecord:
    return FileRecord(
        path=name, sha256="", size_bytes=0, mtime_ns=0, modified_at="1970-01-01T00:00:00Z", seen=""
    )


def _chunk(title: str, text: str) -> Chunk:
    if title and text.startswith(title):
        text = text[len(title) :].lstrip()
    lines = text.count("\n") + 1
    return Chunk(text=text, title=title, kind="document", first_line=1, last_line=lines)


def _with_names(
    chunks: Mapping[str, Chunk], vectors: Mapping[str, bytes]
) -> tuple[dict[str, Chunk], dict[str, bytes]]:
    """Code without titles, called by its own names; they count for the words, not the vectors."""
    called, made = {}, {}
    for name, one in chunks.items():
        called[name] = replace(one, title=one.title or title_of_code(one.text))
        made[called[name].digest] = vectors[one.digest]
    return called, made


def title_of_code(text: str) -> str:
    """What code is called: the first name that it defines, and the summary of its docstring."""
    named, documented = _NAMED.search(text), _DOCSTRING.search(text)
    summary = _END_OF_SUMMARY.split(documented[2].strip())[0] if documented else ""
    summary = " ".join(summary.split())[:_LONGEST_SUMMARY]
    return ": ".join(part for part in (named[1] if named else "", summary) if part)


def look_of(corpus: Sequence[tuple[str, str, str]]) -> Literal["text", "code"]:
    """Code, when most documents have a line that begins as a definition does."""
    like_code = sum(bool(_CODE.search(text)) for _, _, text in corpus)
    return "code" if 2 * like_code > len(corpus) else "text"
