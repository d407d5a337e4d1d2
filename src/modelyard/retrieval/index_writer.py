"""Writing an index file: the changes of an update in one transaction, or a new file beside the old.

The caller holds the lock of the index.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.files import (
    STAGING_PREFIX,
    disk_errors,
    follow_sharing,
    make_folder,
    sweep_staging,
    sync_path,
)
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.damage import IndexDamaged, index_errors
from modelyard.retrieval.index_file import (
    SCHEMA,
    SCHEMA_VERSION,
    FileRecord,
    connect_index,
    open_index,
    refuse_folder,
)
from modelyard.retrieval.terms import TERMS_VERSION, index_terms
from modelyard.secrets.detection import RULES_VERSION

_CACHE_KIB = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """The changes of one file."""

    record: FileRecord
    """The file as it is now."""
    file_id: int | None
    """Its row; None for a file that is new."""
    added: Sequence[Chunk] = ()
    """Chunks to write."""
    moved: Sequence[tuple[int, Chunk]] = ()
    """Chunks with the same title and text, but other lines, kind or facts than before."""
    removed: Sequence[int] = ()
    """Chunks to remove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All changes of one update."""

    files: Sequence[FileChange] = ()
    """New and changed files."""
    gone: Sequence[int] = ()
    """Files that no longer exist."""
    touched: Mapping[int, FileRecord] = field(default_factory=dict)
    """Files with the same content that the file system now describes differently."""

    @property
    def content_changes(self) -> bool:
        """Whether the changes affect what a search can find."""
        return bool(self.files or self.gone)


def apply_changes(path: Path, changes: Changes, vectors: Mapping[str, bytes]) -> None:
    """Write the changes in one transaction. `vectors` holds float16 bytes by digest of a chunk."""
    with index_errors(path), closing(connect_index(path, "rw")) as connection:
        # A transaction that spills pages to the file would lock readers out before it is complete.
        connection.execute("PRAGMA cache_spill = OFF")
        connection.execute("PRAGMA synchronous = FULL")
        # Removed text is overwritten, so that it does not stay in the free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        with transaction(connection):
            for file_id in changes.gone:
                of_file = "SELECT id FROM passages WHERE file_id = ?"
                _remove_chunks(connection, connection.execute(of_file, (file_id,)).fetchall())
                connection.execute("DELETE FROM files WHERE id = ?", (file_id,))
            for file_id, record in changes.touched.items():
                _write_file(connection, record, file_id)
            for change in changes.files:
                _remove_chunks(connection, [(chunk_id,) for chunk_id in change.removed])
                connection.executemany(
                    "UPDATE passages SET kind = ?, first_line = ?, last_line = ?, facts = ? "
                    "WHERE id = ?",
                    (
                        (chunk.kind, chunk.first_line, chunk.last_line, _facts(chunk), chunk_id)
                        for chunk_id, chunk in change.moved
                    ),
                )
                file_id = _write_file(connection, change.record, change.file_id)
                _add_chunks(connection, file_id, change.added, vectors)
            if changes.content_changes:
                connection.execute(
                    "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'snapshot'"
                )
                connection.execute(
                    "UPDATE meta SET value = ? WHERE key = 'updated_at'", (utc_now(),)
                )


def _write_file(connection: sqlite3.Connection, record: FileRecord, file_id: int | None) -> int:
    """Insert or update the row of a file; returns its id."""
    written = connection.execute(
        "INSERT INTO files (id, path, sha256, size_bytes, mtime_ns, modified_at, seen) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET path = excluded.path, "
        "sha256 = excluded.sha256, size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, "
        "modified_at = excluded.modified_at, seen = excluded.seen RETURNING id",
        (file_id, *astuple(record)),
    )
    return int(written.fetchone()[0])


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
        row = added.lastrowid
        connection.execute("INSERT INTO vectors VALUES (?, ?)", (row, vectors[digest]))
        for table, words in (("title_words", chunk.title), ("text_words", chunk.text)):
            connection.execute(
                f"INSERT INTO {table} (rowid, terms) VALUES (?, ?)", (row, index_terms(words))
            )


def _facts(chunk: Chunk) -> str:
    return json.dumps(dict(chunk.facts), sort_keys=True, ensure_ascii=False)


def _remove_chunks(connection: sqlite3.Connection, ids: Sequence[tuple[int]]) -> None:
    """Remove chunks with their vectors and words; each id is a row of one value."""
    keys = (("title_words", "rowid"), ("text_words", "rowid"), ("vectors", "passage_id"))
    for table, key in (*keys, ("passages", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", ids)


class IndexBuild:
    """A new index that is not visible to readers yet."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add_file(
        self, record: FileRecord, chunks: Sequence[Chunk], vectors: Mapping[str, bytes]
    ) -> None:
        """Add a file with its chunks; `vectors` has an entry for the digest of each chunk."""
        file_id = _write_file(self._connection, record, None)
        _add_chunks(self._connection, file_id, chunks, vectors)


@contextmanager
def build_beside(
    path: Path, *, encoder: str, dimensions: int, chunking: str
) -> Iterator[IndexBuild]:
    """A new index that replaces the old one in one rename when the block ends without an error.

    When the block raises, the old index is unchanged and the new file is removed.
    """
    with (
        _replacing(path) as staged,
        index_errors(path),
        closing(connect_index(staged, "rwc")) as connection,
    ):
        # It is not read before it is complete and synced, so it needs no journal.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        now = utc_now()
        meta = {
            "schema": SCHEMA_VERSION,
            "encoder": encoder,
            "dimensions": dimensions,
            "chunking": chunking,
            "terms": TERMS_VERSION,
            "redaction": RULES_VERSION,
            "identity": _new_identity(),
            "snapshot": 1,
            "built_at": now,
            "updated_at": now,
        }
        connection.executemany("INSERT INTO meta VALUES (?, CAST(? AS TEXT))", meta.items())
        yield IndexBuild(connection)
        _optimize_words(connection)
        connection.execute("COMMIT")


@contextmanager
def copy_beside(path: Path, origin: Path) -> Iterator[Path]:
    """A copy of the index `origin`, to be changed; it takes its place at `path` in one rename.

    When the block raises, nothing is at `path` that was not there before. Nothing stays in it of
    what the block removes, since another environment may have reasons to leave that out.
    """
    with _replacing(path) as staged:
        with index_errors(path), open_index(origin) as reader:
            reader.copy_to(staged)
        yield staged
        with index_errors(path), closing(connect_index(staged, "rw")) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'identity'", (_new_identity(),)
            )
            _optimize_words(connection)


def _optimize_words(connection: sqlite3.Connection) -> None:
    """Merge the words into one piece each, which leaves out those of removed chunks."""
    for table in ("title_words", "text_words"):
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def _new_identity() -> str:
    return secrets.token_hex(8)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A free path beside `path`; the index that the block makes there replaces the one at `path`.

    It is synced first. When the block raises, it is removed.
    """
    staged = _staged(path)
    refuse_folder(path)
    with disk_errors(path):
        make_folder(path.parent)
        try:
            yield staged
            follow_sharing(staged, path)
            sync_path(staged)
            settle_journal(path)
            staged.replace(path)
        except BaseException:
            for left in (staged, _journal(staged)):
                left.unlink(missing_ok=True)
            raise
        sync_path(path.parent)


def _staged(path: Path) -> Path:
    """A free path beside `path` that no reader looks at, and `sweep_builds` removes."""
    return path.with_name(f"{STAGING_PREFIX}{secrets.token_hex(4)}-{path.name}")


def remove_index(path: Path, *, needed: Callable[[], bool]) -> bool:
    """Remove an index, and the journal that a killed update of it left; False when it is needed.

    `needed` is asked while the file is set aside. So what begins to name it meanwhile either is
    seen by `needed`, and the file is put back, or finds that there is none.
    """
    refuse_folder(path)
    settle_journal(path)
    aside = _staged(path)
    with disk_errors(path):
        path.rename(aside)
        try:
            kept = needed()
            if not kept:
                aside.unlink()
        except BaseException:
            aside.rename(path)
            raise
        if kept:
            aside.rename(path)
        sync_path(path.parent)
    return not kept


def sweep_builds(folder: Path, name: str) -> None:
    """Remove what killed updates of an index left of new and of removed files."""
    sweep_staging(folder, re.compile(rf"{re.escape(name)}(@[0-9a-f]{{8}})?\.index(-journal)?"))


def settle_journal(path: Path) -> None:
    """Roll back the transaction of a killed update, so that no journal is left.

    SQLite finds a journal by its name: that of the old file would be applied to a new file.
    """
    journal = _journal(path)
    if not journal.exists():
        return
    with disk_errors(path):
        try:
            if path.is_file():
                with index_errors(path), closing(connect_index(path, "rw")) as connection:
                    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except IndexDamaged:
            pass  # then there is no state to go back to
        journal.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    """Where SQLite keeps the journal of an index."""
    return path.with_name(f"{path.name}-journal")
