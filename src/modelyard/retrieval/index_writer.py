"""Changing an index: all changes of an update in one transaction, or a new file beside the old one.

Whoever calls this holds the lock of the index.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.core.clock import utc_now
from modelyard.core.files import STAGING_PREFIX, disk_errors, make_folder, sync_folder
from modelyard.core.state import transaction
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.damage import IndexDamaged, index_errors
from modelyard.retrieval.index_file import (
    SCHEMA,
    SCHEMA_VERSION,
    FileRecord,
    connect_index,
    refuse_folder,
)
from modelyard.retrieval.words import index_words

_CACHE_KIB = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What is to be written for one file."""

    record: FileRecord
    """What it is now."""
    file_id: int | None
    """Its row; None for a file that is new."""
    added: Sequence[Chunk] = ()
    """Chunks to write."""
    moved: Sequence[tuple[int, Chunk]] = ()
    """Chunks of equal title and text, whose lines, kind or facts are others now."""
    removed: Sequence[int] = ()
    """Chunks that are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that one update does to an index."""

    files: Sequence[FileChange] = ()
    """New and changed files."""
    gone: Sequence[int] = ()
    """Files that are no more."""
    touched: Mapping[int, FileRecord] = field(default_factory=dict)
    """Files of equal content that the file system describes otherwise now."""

    @property
    def content_changes(self) -> bool:
        """Whether a reader could see any of it."""
        return bool(self.files or self.gone)


def apply_changes(path: Path, changes: Changes, vectors: Mapping[str, bytes]) -> None:
    """Do all of it in one transaction. `vectors` holds float16 bytes by the digest of a chunk."""
    with index_errors(path), closing(connect_index(path, "rw")) as connection:
        # A transaction that spills its pages would lock readers out before it is complete.
        connection.execute("PRAGMA cache_spill = OFF")
        connection.execute("PRAGMA synchronous = FULL")
        # A text that was removed is overwritten, and does not stay in the free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        with transaction(connection):
            for file_id in changes.gone:
                _remove_chunks_of(connection, file_id)
                connection.execute("DELETE FROM files WHERE id = ?", (file_id,))
            for file_id, record in changes.touched.items():
                _write_file(connection, record, file_id)
            for change in changes.files:
                _write_change(connection, change, vectors)
            if changes.content_changes:
                connection.execute(
                    "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'snapshot'"
                )
                connection.execute(
                    "UPDATE meta SET value = ? WHERE key = 'updated_at'", (utc_now(),)
                )


def _write_change(
    connection: sqlite3.Connection,
    change: FileChange,
    vectors: Mapping[str, bytes],
) -> None:
    for chunk_id in change.removed:
        _remove_chunk(connection, chunk_id)
    for chunk_id, chunk in change.moved:
        connection.execute(
            "UPDATE passages SET kind = ?, first_line = ?, last_line = ?, facts = ? WHERE id = ?",
            (chunk.kind, chunk.first_line, chunk.last_line, _facts(chunk), chunk_id),
        )
    file_id = _write_file(connection, change.record, change.file_id)
    _add_chunks(connection, file_id, change.added, vectors)


def _write_file(connection: sqlite3.Connection, record: FileRecord, file_id: int | None) -> int:
    values = (
        record.path,
        record.sha256,
        record.size_bytes,
        record.mtime_ns,
        record.modified_at,
        record.seen,
    )
    if file_id is None:
        added = connection.execute(
            "INSERT INTO files (path, sha256, size_bytes, mtime_ns, modified_at, seen) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            values,
        )
        return int(added.lastrowid or 0)
    connection.execute(
        "UPDATE files SET path = ?, sha256 = ?, size_bytes = ?, mtime_ns = ?, modified_at = ?, "
        "seen = ? WHERE id = ?",
        (*values, file_id),
    )
    return file_id


def _add_chunks(
    connection: sqlite3.Connection,
    file_id: int,
    chunks: Sequence[Chunk],
    vectors: Mapping[str, bytes],
) -> None:
    for chunk in chunks:
        digest = chunk.digest
        added = connection.execute(
            "INSERT INTO passages (file_id, kind, title, text, first_line, last_line, facts, "
            "digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file_id,
                chunk.kind,
                chunk.title,
                chunk.text,
                chunk.first_line,
                chunk.last_line,
                _facts(chunk),
                digest,
            ),
        )
        number = added.lastrowid
        connection.execute("INSERT INTO vectors VALUES (?, ?)", (number, vectors[digest]))
        for table, said in (("title_words", chunk.title), ("text_words", chunk.text)):
            connection.execute(
                f"INSERT INTO {table} (rowid, terms) VALUES (?, ?)",
                (number, index_words(said)),
            )


def _facts(chunk: Chunk) -> str:
    return json.dumps(dict(chunk.facts), sort_keys=True, ensure_ascii=False)


def _remove_chunks_of(connection: sqlite3.Connection, file_id: int) -> None:
    rows = connection.execute("SELECT id FROM passages WHERE file_id = ?", (file_id,)).fetchall()
    for (chunk_id,) in rows:
        _remove_chunk(connection, chunk_id)


def _remove_chunk(connection: sqlite3.Connection, chunk_id: int) -> None:
    connection.execute("DELETE FROM title_words WHERE rowid = ?", (chunk_id,))
    connection.execute("DELETE FROM text_words WHERE rowid = ?", (chunk_id,))
    connection.execute("DELETE FROM vectors WHERE passage_id = ?", (chunk_id,))
    connection.execute("DELETE FROM passages WHERE id = ?", (chunk_id,))


class IndexBuild:
    """A new index that nobody sees yet."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add_file(
        self, record: FileRecord, chunks: Sequence[Chunk], vectors: Mapping[str, bytes]
    ) -> None:
        """A file with what it was cut into; `vectors` has each chunk's digest."""
        file_id = _write_file(self._connection, record, None)
        _add_chunks(self._connection, file_id, chunks, vectors)


@contextmanager
def build_beside(
    path: Path, *, encoder: str, dimensions: int, chunking: str
) -> Iterator[IndexBuild]:
    """A new index that takes the place of the old one in one rename when the block ends well.

    When the block raises, the old index is as it was and nothing is left.
    """
    staged = path.with_name(f"{STAGING_PREFIX}{secrets.token_hex(4)}-{path.name}")
    refuse_folder(path)
    with disk_errors(path):
        make_folder(path.parent)
        try:
            with index_errors(path), closing(connect_index(staged, "rwc")) as connection:
                # Nobody reads it before it is whole and synced, so it needs no journal.
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                connection.execute("BEGIN")
                for statement in SCHEMA:
                    connection.execute(statement)
                _write_meta(connection, encoder, dimensions, chunking)
                yield IndexBuild(connection)
                for table in ("title_words", "text_words"):
                    connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
                connection.execute("COMMIT")
            _sync_file(staged)
            settle_journal(path)
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _write_meta(
    connection: sqlite3.Connection, encoder: str, dimensions: int, chunking: str
) -> None:
    now = utc_now()
    values = {
        "schema": SCHEMA_VERSION,
        "encoder": encoder,
        "dimensions": dimensions,
        "chunking": chunking,
        "identity": secrets.token_hex(8),
        "snapshot": 1,
        "built_at": now,
        "updated_at": now,
    }
    for key, value in values.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, str(value)))


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle_journal(path: Path) -> None:
    """Roll back what a killed update had begun, so that no journal is left.

    A journal is found by its name: the one of the old file would be rolled back into a new one.
    """
    journal = path.with_name(f"{path.name}-journal")
    if not journal.exists():
        return
    with disk_errors(path):
        try:
            if path.is_file():
                with index_errors(path), closing(connect_index(path, "rw")) as connection:
                    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except IndexDamaged:
            pass  # then there is nothing to go back to
        journal.unlink(missing_ok=True)
