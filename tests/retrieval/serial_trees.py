"""A folder of documents whose whole state is one number, so that a mixture of two states shows.

Every line says its file, its version and its own number. Files change at different paces, move
between two folders, and come and go; which state an index or an answer is of can be seen from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from index_projects import Docs, all_chunks, make_docs
from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.index_file import IndexedChunk, open_index
from modelyard.retrieval.postings import attach_places
from modelyard.retrieval.reading.chunks import read_chunks
from toy_encoder import ToyEncoder

if TYPE_CHECKING:
    from modelyard.retrieval.search import SearchResults

FILES = 24
SETTINGS = IndexSettings(
    description="Documents", sources=("docs/**/*.md",), chunker="markdown", chunk_tokens=40
)
CONFIG = """
description: For tests
encoder: {source: path, model: toy, dimensions: 64, max_tokens: 256}
domains:
  docs:
    description: Documents
    sources: ["docs/**/*.md"]
    chunker: markdown
    chunk_tokens: 40
"""

ChunkContent = tuple[str, int, int, str, str]
"""Path, first line, last line, title and text of a chunk."""


@cache
def tree(serial: int) -> dict[str, str]:
    """The files of one state, by path."""
    files = {}
    for number in range(FILES):
        version = serial // (1 + number % 3)
        if (number + version) % 7:
            folder = "here" if (3 * number + serial) % 4 else "there"
            files[f"docs/{folder}/f{number:02}.md"] = _text(number, version)
    return files


def _text(number: int, version: int) -> str:
    lines: list[str] = []
    for section in range(2 + (number + version) % 4):
        lines += [f"# Part {section} of file f{number:02}", ""]
        for _ in range(1 + (section + version) % 3):
            lines.append(f"File f{number:02} version {version} says line {len(lines) + 1} here.")
        lines.append("")
    return "\n".join(lines)


@cache
def _chunks(path: str, text: str) -> tuple[ChunkContent, ...]:
    found = read_chunks(text.encode(), path, SETTINGS, ToyEncoder().count_tokens)
    return tuple(
        (path, finding.first_line, finding.last_line, finding.title, finding.text)
        for finding in found
    )


@cache
def chunks_of_version(serial: int) -> frozenset[ChunkContent]:
    """Every chunk of one state."""
    return frozenset(chunk for path, text in tree(serial).items() for chunk in _chunks(path, text))


def make_serial_docs(root: Path, serial: int) -> Docs:
    """A project in one state, that can be searched too."""
    docs = make_docs(root)
    docs.write("../configs/embedding_models/texts.yaml", CONFIG)
    write_tree(docs, serial)
    return docs


def write_tree(docs: Docs, serial: int) -> None:
    """Bring the files into one state."""
    wanted = {docs.project.root / path: text for path, text in tree(serial).items()}
    for place in (docs.project.root / "docs").rglob("*.md"):
        if place not in wanted:
            place.unlink()
    for place, text in wanted.items():
        if not place.exists() or place.read_text() != text:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)


def content_of(chunks: Iterable[IndexedChunk]) -> frozenset[ChunkContent]:
    """What chunks say of themselves."""
    return frozenset(
        (chunk.path, chunk.first_line, chunk.last_line, chunk.title, chunk.text) for chunk in chunks
    )


class Witness:
    """Asks of every answer which states it can be of, and that one snapshot has one state."""

    def __init__(self, states: range) -> None:
        self._states = states
        self._seen: dict[str, set[int]] = {}

    def check_whole(self, snapshot: str, chunks: Iterable[IndexedChunk]) -> None:
        """All chunks of a snapshot are all chunks of one state."""
        said = content_of(chunks)
        self._note(snapshot, {state for state in self._states if chunks_of_version(state) == said})

    def check_answer(self, found: SearchResults) -> None:
        """Each result lies in one and the same state, where its lines say what it says."""
        said = content_of(result.chunk for result in found.results)
        fitting = {state for state in self._states if said <= chunks_of_version(state)}
        self._note(found.asked[0].snapshot, fitting)
        files = tree(min(fitting))
        for result in found.results:
            lines = files[result.chunk.path].split("\n")[: result.chunk.last_line]
            assert lines[-1].endswith(f"says line {result.chunk.last_line} here.")
            assert lines[result.chunk.first_line - 1 :][0].startswith(("# Part", "File"))
            for also in result.also:
                path, _, line = also.rpartition(":")
                assert 1 <= int(line) <= len(files[path].split("\n"))

    def _note(self, snapshot: str, fitting: set[int]) -> None:
        possible = self._seen.setdefault(snapshot, fitting)
        possible &= fitting
        assert possible, f"snapshot {snapshot} is of no one state"


def words_of(index: Path) -> list[tuple[object, ...]]:
    """Every place of every word in the full-text index, by file and line whatever the ids."""
    with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as connection:
        attach_places(connection)
        places: list[tuple[object, ...]] = []
        for part in ("title", "text"):
            places += connection.execute(
                f"SELECT '{part}', term, path, first_line, title, text, offset "
                f"FROM temp.{part}_places JOIN passages ON passages.id = doc "
                "JOIN files ON files.id = file_id ORDER BY 2, 3, 4, 5, 6, 7"
            )
        return places


def assert_sound(index: Path, copy: Path) -> None:
    """SQLite finds no fault in the file, and FTS5 none in its words (asking that writes)."""
    copy.write_bytes(index.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("title_words", "text_words"):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
    with open_index(index) as reader:
        assert reader.count_chunks() == len(all_chunks(reader))
