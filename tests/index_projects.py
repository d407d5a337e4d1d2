"""A project with a few files and a search index, and what its index says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelyard.configs.kinds.embedding_models import Encoder, Fusion, IndexSettings
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.retrieval.index_file import IndexedChunk, IndexReader, open_index
from modelyard.retrieval.indexes import SearchIndex, declared_index
from modelyard.retrieval.update import update_index
from modelyard.retrieval.updating.job import IndexUpdate
from toy_encoder import ToyEncoders

ENCODER = Encoder(source="path", model="toy", dimensions=64, max_tokens=256)
SECRET = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ"

Row = tuple[object, ...]


@dataclass
class Docs:
    """An index over docs/**/*.md, and its encoders."""

    project: Project
    index: SearchIndex
    encoders: ToyEncoders = field(default_factory=ToyEncoders)

    def write(self, name: str, text: str) -> Path:
        path = self.project.root / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def update(
        self,
        *,
        rebuild: bool = False,
        dry_run: bool = False,
        allow_empty: bool = False,
        wait_s: float = 0.0,
    ) -> IndexUpdate:
        return update_index(
            self.project,
            self.index,
            self.encoders,  # type: ignore[arg-type]
            rebuild=rebuild,
            dry_run=dry_run,
            allow_empty=allow_empty,
            wait_s=wait_s,
            progress=Silent(),
        )

    def rows(self) -> list[Row]:
        return rows_of(self.index.path)

    def embedded(self) -> int:
        return len(self.encoders.encoder.encoded)


def make_docs(root: Path, *, chunk_tokens: int = 40) -> Docs:
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    project = Project(root)
    settings = IndexSettings(
        description="Documents",
        sources=("docs/**/*.md",),
        chunker="markdown",
        chunk_tokens=chunk_tokens,
    )
    index = declared_index(
        project, "texts", "docs", settings=settings, encoder=ENCODER, fusion=Fusion()
    )
    return Docs(project, index)


def files_of(docs: Docs) -> list[str]:
    """The names of all files beside the index, its own included."""
    return sorted(path.name for path in docs.index.path.parent.iterdir())


def all_chunks(reader: IndexReader) -> list[IndexedChunk]:
    """Every chunk, file by file."""
    return [chunk for file in reader.files() for chunk in reader.chunks_of_file(file.id)]


def rows_of(index: Path) -> list[Row]:
    """All that an index says, whatever the ids: files, chunks, vectors and words."""
    with open_index(index) as reader:
        ids, matrix = reader.vectors()
        vectors = {int(item): row.tobytes() for item, row in zip(ids, matrix, strict=True)}
        words = {
            number: (title, text)
            for number, title, text in reader._connection.execute(
                "SELECT a.rowid, a.terms, b.terms FROM title_words a JOIN text_words b "
                "ON a.rowid = b.rowid"
            )
        }
        rows: list[Row] = [("file", file.path, file.sha256) for file in reader.files()]
        chunks = all_chunks(reader)
        assert {chunk.id for chunk in chunks} == vectors.keys() == words.keys()
        rows += [
            (
                "chunk",
                chunk.path,
                chunk.first_line,
                chunk.last_line,
                chunk.kind,
                chunk.title,
                chunk.text,
                chunk.digest,
                tuple(sorted(chunk.facts.items())),
                vectors[chunk.id],
                words[chunk.id],
            )
            for chunk in chunks
        ]
    return sorted(rows, key=repr)


def page(subject: str, sections: int = 3) -> str:
    """A Markdown page, of as many chunks as it has sections."""
    return "".join(
        f"# {subject} {number}\n\n{subject} part {number} says how the {subject} works.\n\n"
        for number in range(sections)
    )
