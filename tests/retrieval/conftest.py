"""Indexes that the tests of search write, and a searcher of two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.search import Searcher
from search_samples import CODE, CONFIG, DOCS, Index, Texts, symbol_of
from toy_encoder import ToyEncoder, ToyEncoders


@pytest.fixture
def index(project: Project) -> Index:
    """Write the index: `index("documentation", DOCS)`."""
    config = project.root / "configs" / "embedding_models" / "tests.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)

    def write(
        index: str,
        texts: Texts,
        *,
        modified_at: str = "2026-01-01T00:00:00Z",
        encoder: ToyEncoder | None = None,
        facts: dict[str, str] | None = None,
        kind: str = "section",
    ) -> None:
        encoder = encoder or ToyEncoder()
        place = load_indexes(project)[f"tests/{index}"].path
        with build_beside(
            place,
            encoder=encoder.fingerprint,
            dimensions=encoder.dimensions,
            chunking="c",
        ) as build:
            for path, pieces in texts.items():
                chunks = [
                    Chunk(
                        text=text,
                        title=title,
                        kind=kind,
                        first_line=10 * number + 1,
                        last_line=10 * number + 1 + text.count("\n"),
                        facts=facts or {"language": Path(path).suffix} | symbol_of(title),
                    )
                    for number, (title, text) in enumerate(pieces)
                ]
                rows = encoder.encode([chunk.embedded for chunk in chunks]).astype(VECTOR_TYPE)
                vectors = {
                    chunk.digest: row.tobytes() for chunk, row in zip(chunks, rows, strict=True)
                }
                content = "\n".join(text for _, text in pieces).encode()
                file = project.root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                record = FileRecord(
                    path=path,
                    sha256=hashlib.sha256(content).hexdigest(),
                    size_bytes=len(content),
                    mtime_ns=file.stat().st_mtime_ns,
                    modified_at=modified_at,
                    seen="",
                )
                build.add_file(record, chunks, vectors)

    return write


@pytest.fixture
def searcher(project: Project, index: Index) -> Iterator[Searcher]:
    index("documentation", DOCS)
    index("source_code", CODE)
    with closing(Searcher(project, encoders=ToyEncoders())) as opened:
        yield opened
