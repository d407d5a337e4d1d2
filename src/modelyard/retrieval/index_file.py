"""The file of an index as a reader sees it: one SQLite file, one whole snapshot for each reader.

The journal is SQLite's rollback journal, so the file can be swapped in one rename and read from a
read-only disk. index_writer.py changes it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import parse_json
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.damage import (
    Faulty,
    IndexMissing,
    IndexOfAnotherSchema,
    damage_errors,
    damaged,
    find_broken_page,
    find_fault,
    index_errors,
    index_label,
)
from modelyard.retrieval.terms import TERM_SIGNS

SCHEMA_VERSION = 2
"""Increased when the tables change: an older index is then rebuilt. As long as older ones lie on
disks, `read_meta` should accept them, so that they answer until they are rebuilt."""

TOKENIZER = f"\"ascii tokenchars '{TERM_SIGNS}'\""
"""Splits terms at spaces only: every character outside ASCII is part of one. Files with the terms
of version 1 have `unicode61 tokenchars '_'`."""

# Index files keep older names: a row of `passages` is a chunk, and `passage_id` its id.
SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """
    CREATE TABLE files (
        id           INTEGER PRIMARY KEY,
        path         TEXT NOT NULL UNIQUE,    -- from the project's root
        sha256       TEXT NOT NULL,           -- of the bytes that were read
        size_bytes   INTEGER NOT NULL,
        mtime_ns     INTEGER NOT NULL,
        modified_at  TEXT NOT NULL,           -- UTC
        seen         TEXT NOT NULL            -- its description; updating/files.py
    ) STRICT
    """,
    """
    CREATE TABLE passages (
        id          INTEGER PRIMARY KEY,
        file_id     INTEGER NOT NULL REFERENCES files (id),
        kind        TEXT NOT NULL,
        title       TEXT NOT NULL,
        text        TEXT NOT NULL,
        first_line  INTEGER NOT NULL,
        last_line   INTEGER NOT NULL,
        facts       TEXT NOT NULL,            -- JSON
        digest      TEXT NOT NULL             -- SHA-256 of what was embedded
    ) STRICT
    """,
    "CREATE INDEX passages_by_file ON passages (file_id)",
    # Apart from the texts, so that a search reads 800 bytes a chunk instead of 2,500.
    "CREATE TABLE vectors (passage_id INTEGER PRIMARY KEY, vector BLOB NOT NULL) STRICT",
    # Two tables: with one, reading the positions together with their column takes twice the time.
    f"CREATE VIRTUAL TABLE title_words USING fts5 (terms, tokenize = {TOKENIZER})",
    f"CREATE VIRTUAL TABLE text_words USING fts5 (terms, tokenize = {TOKENIZER})",
)

VECTOR_TYPE = np.dtype("<f2")
"""How a vector is stored: float16, which changes a cosine by less than 0.0005."""

_BUSY_TIMEOUT_S = 30.0
_AT_ONCE = 500
"""Values in one SQL statement."""
_VECTORS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMeta:
    """What an index records about itself."""

    encoder: str
    """Fingerprint of the encoder that made its vectors."""
    dimensions: int
    """Numbers in a vector."""
    chunking: str
    """Digest of the chunking settings."""
    terms: int
    """Version of the rules by which its texts were split into terms: `terms.TERMS_VERSION`."""
    redaction: int
    """Version of the rules by which secrets were found: `secrets.detection.RULES_VERSION`."""
    identity: str
    """Random, drawn when the file was built; kept until another file replaces it."""
    snapshot: int
    """Counts the changes, from 1."""
    built_at: str
    """When the file was built, UTC."""
    updated_at: str
    """When it last changed, UTC."""

    @property
    def version(self) -> str:
        """Changes whenever the content may have changed; keys what a reader keeps in memory."""
        return f"{self.identity}.{self.snapshot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file as it was when it was read for the index."""

    path: str
    """From the project's root."""
    sha256: str
    """Of its bytes."""
    size_bytes: int
    """Its size."""
    mtime_ns: int
    """When it was last modified, in nanoseconds since 1970."""
    modified_at: str
    """The same as text, UTC."""
    seen: str
    """How the file system described it; empty when it had only just been modified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile(FileRecord):
    """A file in the index."""

    id: int
    """Its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedChunk(Chunk):
    """A chunk of an index, with the file that it stands in."""

    id: int
    """Its row; an update may give it another one."""
    path: str
    """Its file, from the project's root."""
    modified_at: str
    """When its file was written, UTC."""


class IndexReader:
    """One snapshot of an index; it stays the same whatever an update does meanwhile."""

    def __init__(self, connection: sqlite3.Connection, meta: IndexMeta) -> None:
        self._connection = connection
        self.meta = meta

    def count_chunks(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def digests(self) -> Iterator[str]:
        """The digest of every chunk, in any order."""
        return (digest for (digest,) in self._connection.execute("SELECT digest FROM passages"))

    def sample_texts(self, count: int) -> list[str]:
        """The texts of so many chunks; which ones, their digests decide."""
        return [
            text
            for (text,) in self._ask("SELECT text FROM passages ORDER BY digest LIMIT ?", [count])
        ]

    def files(self) -> Iterator[IndexedFile]:
        """Every file, in the order of its path."""
        columns = [field.name for field in fields(IndexedFile)]
        for row in self._ask(f"SELECT {', '.join(columns)} FROM files ORDER BY path"):
            yield IndexedFile(**dict(zip(columns, row, strict=True)))

    def chunks(self, ids: Sequence[int]) -> list[IndexedChunk]:
        """The chunks with these ids, in their order; an unknown id is left out."""
        found: dict[int, IndexedChunk] = {}
        wanted = [int(number) for number in ids]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for chunk in self._chunks_where(f"passages.id IN ({marks})", some):
                found[chunk.id] = chunk
        return [found[number] for number in wanted if number in found]

    def chunks_of_file(self, file_id: int) -> list[IndexedChunk]:
        """The chunks of a file, in the order of their lines."""
        return list(self._chunks_where("file_id = ? ORDER BY first_line, passages.id", [file_id]))

    def _chunks_where(self, condition: str, values: Sequence[int]) -> Iterator[IndexedChunk]:
        rows = self._ask(
            "SELECT passages.id, path, kind, title, text, first_line, last_line, facts, digest, "
            f"modified_at FROM passages JOIN files ON files.id = file_id WHERE {condition}",
            values,
        )
        for number, path, kind, title, text, first, last, facts, digest, modified_at in rows:
            chunk = IndexedChunk(
                id=number,
                path=path,
                kind=kind,
                title=title,
                text=text,
                first_line=first,
                last_line=last,
                facts=parse_json(facts),
                modified_at=modified_at,
            )
            if chunk.digest != digest:
                raise Faulty(f"chunk {number} is not as it was written")
            yield chunk

    def _ask(self, question: str, values: Sequence[int | str] = ()) -> list[tuple[Any, ...]]:
        """All rows at once: a half-read cursor outlives its connection and blocks writers."""
        return self._connection.execute(question, values).fetchall()

    def vectors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """Every vector: the ids of the chunks [n], and float16 [n, d] with unit rows."""
        total = int(self._connection.execute("SELECT count(*) FROM vectors").fetchone()[0])
        ids = np.empty(total, np.int64)
        matrix = np.empty((total, self.meta.dimensions), VECTOR_TYPE)
        found = self._connection.execute("SELECT passage_id, vector FROM vectors ORDER BY 1")
        for start in range(0, total, _VECTORS_AT_ONCE):
            rows = found.fetchmany(_VECTORS_AT_ONCE)
            packed = np.frombuffer(b"".join(vector for _, vector in rows), VECTOR_TYPE)
            ids[start : start + len(rows)] = [number for number, _ in rows]
            matrix[start : start + len(rows)] = packed.reshape(len(rows), self.meta.dimensions)
        return ids, matrix

    def vectors_of(self, digests: Sequence[str]) -> dict[str, bytes]:
        """The vectors of the chunks with these digests, float16 bytes by digest; reads every chunk.

        One that has not the right length is left out.
        """
        rows = self._ask(
            "SELECT digest, vector FROM passages JOIN vectors ON passage_id = id "
            "WHERE length(vector) = ? AND digest IN (SELECT value FROM json_each(?))",
            (VECTOR_TYPE.itemsize * self.meta.dimensions, json.dumps(list(digests))),
        )
        return dict(rows)

    def copy_to(self, path: Path) -> None:
        """Write this snapshot to a new file; it is not synced."""
        with closing(connect_index(path, "rwc")) as target:
            target.execute("PRAGMA synchronous = OFF")
            self._connection.backup(target)

    def check(self, *, pages_only: bool = False) -> None:
        """Check all that can be checked, reading everything, or only that the pages fit together.

        A fault becomes the IndexDamaged of `open_index`, which knows the path.
        """
        fault = (find_broken_page if pages_only else find_fault)(self._connection)
        if fault is not None:
            raise Faulty(fault)


@contextmanager
def open_index(path: Path) -> Iterator[IndexReader]:
    """A reader of the current snapshot.

    Raises IndexMissing when there is none, ModelyardError when a folder is in its place, and
    IndexDamaged when the file is no index of this version of modelyard.
    """
    refuse_folder(path)
    if not path.is_file():
        raise _missing(path)
    with (
        index_errors(path),
        closing(_begin_reading(path)) as connection,
        damage_errors(connection, path),
    ):
        yield IndexReader(connection, read_meta(connection, path))


def identify_index(path: Path) -> tuple[int, int]:
    """Identify the file that is there now; a rebuild replaces it by another one.

    Raises IndexMissing, and ModelyardError for a folder.
    """
    refuse_folder(path)
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise _missing(path) from error
    return found.st_dev, found.st_ino


def refuse_folder(path: Path) -> None:
    """Raises ModelyardError for a folder where an index belongs."""
    if path.is_dir():
        raise ModelyardError(
            "is a folder, where an index belongs", where=str(path), hint="move it away"
        )


def _missing(path: Path) -> IndexMissing:
    return IndexMissing(
        "there is no index",
        where=str(path),
        hint=f"make it with `models update-embeddings --domain {index_label(path)}` "
        "(and the same `--env`)",
    )


def _begin_reading(path: Path) -> sqlite3.Connection:
    """A connection in a read transaction.

    A writer that was killed in its commit leaves a journal that a read-only connection cannot roll
    back. Unless a live writer is about to do so, the reader does it with a writable connection.
    """
    for attempt in range(5):
        try:
            return _begin(path, "ro")
        except sqlite3.Error as error:
            if not is_of_a_killed_writer(error):
                raise
        time.sleep(0.01 * attempt)
    return _begin(path, "rw")


def is_of_a_killed_writer(error: sqlite3.Error) -> bool:
    """Whether a read-only connection may have met a journal that it cannot roll back."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


def _begin(path: Path, mode: str) -> sqlite3.Connection:
    connection = connect_index(path, mode)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_index(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode; `mode` is ro, rw or rwc, as in SQLite's URIs."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def read_meta(connection: sqlite3.Connection, path: Path) -> IndexMeta:
    """What the index records about itself.

    Raises IndexDamaged when the file is no index that this version can read.
    """
    try:
        found = dict(connection.execute("SELECT key, value FROM meta"))
        if found["schema"] != str(SCHEMA_VERSION):
            raise IndexOfAnotherSchema(
                f"was written by another modelyard (schema {found['schema']}, "
                f"this one knows {SCHEMA_VERSION})",
                where=str(path),
                hint=f"`models update-embeddings --domain {index_label(path)}` rebuilds it "
                "(with the same `--env`)",
            )
        return IndexMeta(
            encoder=found["encoder"],
            dimensions=int(found["dimensions"]),
            chunking=found["chunking"],
            # Indexes of 2026-11 do not say these.
            terms=int(found.get("terms", 1)),
            redaction=int(found.get("redaction", 1)),
            identity=found["identity"],
            snapshot=int(found["snapshot"]),
            built_at=found["built_at"],
            updated_at=found["updated_at"],
        )
    except (KeyError, ValueError, sqlite3.OperationalError) as error:
        if isinstance(error, sqlite3.Error) and "no such table" not in str(error):
            raise
        raise damaged(path, "is no search index") from error
