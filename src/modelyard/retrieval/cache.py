"""The embedding cache of a project: vectors by what was embedded and by which encoder, not by path.

A renamed file therefore embeds nothing, an edited one only its changed chunks, and a text that
stands in several places or indexes is embedded once. The cache may be deleted at any time: only
time is lost. A vector that no index has used for a week is removed; the week keeps it for a branch
that is checked out again or a killed update that is run again. An update that runs at the same
time is not disturbed, since a missing vector is simply computed again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from modelyard.core.database import transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors, exclusive_lock, make_file, make_folder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.retrieval.damage import IndexDamaged, index_errors
from modelyard.retrieval.index_file import open_index

_SCHEMA_VERSION = 2
_SCHEMA = (
    "CREATE TABLE encoders (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE vectors (
        encoder  INTEGER NOT NULL REFERENCES encoders (id),
        digest   BLOB NOT NULL,               -- SHA-256 of the text that was embedded
        vector   BLOB NOT NULL,               -- float16, little-endian
        unused_since INTEGER,                 -- in days since 1970; NULL: an index uses it
        PRIMARY KEY (encoder, digest)
    ) STRICT
    """,
    "CREATE TABLE sweeps (day INTEGER PRIMARY KEY) STRICT",  # the day of the last sweep
)
_FROM_VERSION_1 = ("ALTER TABLE vectors ADD COLUMN unused_since INTEGER", _SCHEMA[-1])
_WAIT_S = 60.0
_AT_ONCE = 500


class EmbeddingCache:
    """The vectors in the cache that one encoder made."""

    def __init__(self, connection: sqlite3.Connection, fingerprint: str) -> None:
        self._connection = connection
        self._fingerprint = fingerprint

    def find(self, digests: Sequence[str]) -> dict[str, bytes]:
        """The cached vectors of these texts, float16 bytes by digest."""
        found: dict[str, bytes] = {}
        for start in range(0, len(digests), _AT_ONCE):
            some = [bytes.fromhex(digest) for digest in digests[start : start + _AT_ONCE]]
            rows = self._connection.execute(
                "SELECT digest, vector FROM vectors WHERE encoder = "
                "(SELECT id FROM encoders WHERE fingerprint = ?) "
                f"AND digest IN ({','.join('?' * len(some))})",
                (self._fingerprint, *some),
            )
            found.update((digest.hex(), vector) for digest, vector in rows)
        return found

    def keep(self, vectors: Mapping[str, bytes]) -> None:
        """Add vectors; another process may have added some of them already."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR IGNORE INTO encoders (fingerprint) VALUES (?)", (self._fingerprint,)
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO vectors (encoder, digest, vector) VALUES "
                "((SELECT id FROM encoders WHERE fingerprint = ?), ?, ?)",
                (
                    (self._fingerprint, bytes.fromhex(digest), vector)
                    for digest, vector in vectors.items()
                ),
            )


@contextmanager
def open_cache(
    project: Project, fingerprint: str, progress: Progress, *, read_only: bool = False
) -> Iterator[EmbeddingCache]:
    """The project's cache, for one encoder; a damaged one is replaced, with a warning.

    read_only: nothing is written; where no cache can be read, an empty one is given.
    """
    path = project.embedding_cache
    if read_only:
        with closing(_open_read_only(path)) as connection:
            yield EmbeddingCache(connection, fingerprint)
        return
    with disk_errors(path):
        make_folder(path.parent)
        make_file(path)
    with index_errors(path):
        try:
            with index_errors(path):
                connection = connect_cache(project)
        except IndexDamaged:
            progress.warn(f"{project.show(path)} is damaged: it is replaced by an empty one")
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            make_file(path)
            connection = connect_cache(project)
        with closing(connection):
            yield EmbeddingCache(connection, fingerprint)


def connect_cache(project: Project) -> sqlite3.Connection:
    """A connection to the cache in autocommit mode; the file is created or migrated if needed."""
    connection = sqlite3.connect(project.embedding_cache, timeout=30, isolation_level=None)
    try:
        # A power cut may cost the newest batches; the file stays whole.
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) != _SCHEMA_VERSION:
            lock = project.lock("search", "embedding-cache")
            # SQLite does not wait while another process switches to WAL as well; the lock does.
            with exclusive_lock(lock, what="embedding cache", wait_s=_WAIT_S):
                connection.execute("PRAGMA journal_mode = WAL")
                _prepare(connection, project.embedding_cache)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    if path.exists():
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            if _version(connection) == _SCHEMA_VERSION:
                return connection
            connection.close()
    empty = sqlite3.connect(":memory:", isolation_level=None)
    _prepare(empty, path)
    return empty


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection):
        found = _version(connection)
        if found == _SCHEMA_VERSION:
            return
        if found > 1:
            raise IndexDamaged(f"has the schema {found}", where=str(path))
        for statement in _FROM_VERSION_1 if found else _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


WORTH_BYTES = 64_000_000
"""Size of the cache from which it is swept: some 70,000 vectors of 384 numbers."""
_KEPT_DAYS = 7
_DAY_S = 86_400


def forget_unused(
    project: Project,
    progress: Progress,
    *,
    today: int | None = None,
    worth_bytes: int = WORTH_BYTES,
) -> None:
    """Remove vectors that were unused for a week; once a day, and only from a large cache.

    today: in days since 1970. Never raises: the indexes are up to date, and the next day will do.
    """
    path = project.embedding_cache
    lock = project.lock("search", "embedding-cache-sweep")
    with suppress(OSError, sqlite3.Error, ModelyardError):
        if path.stat().st_size < worth_bytes:
            return
        day = int(time.time() // _DAY_S) if today is None else today
        with (
            exclusive_lock(lock, what="embedding cache"),
            closing(connect_cache(project)) as connection,
        ):
            _sweep(connection, project, progress, day)


def _sweep(
    connection: sqlite3.Connection, project: Project, progress: Progress, today: int
) -> None:
    if connection.execute("SELECT 1 FROM sweeps WHERE day = ?", (today,)).fetchone():
        return
    connection.execute(
        "CREATE TEMP TABLE used (encoder INTEGER, digest BLOB, PRIMARY KEY (encoder, digest)) "
        "WITHOUT ROWID"
    )
    encoders = dict(connection.execute("SELECT fingerprint, id FROM encoders"))
    connection.execute("BEGIN")  # writes only the temporary table, so updates are not blocked
    connection.executemany("INSERT OR IGNORE INTO used VALUES (?, ?)", _used(project, encoders))
    connection.execute("COMMIT")
    with transaction(connection):
        forgotten = _mark_and_remove(connection, today)
    if forgotten:
        progress.stage(f"cache: {forgotten:,} vectors that no index used for a week are removed")
        _give_back_space(connection)


def _used(project: Project, encoders: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    """(encoder, digest) of every chunk of every index. Raises when an index cannot be read."""
    for path in project.search_indexes:
        with open_index(path) as reader:
            encoder = encoders.get(reader.meta.encoder)
            if encoder is not None:
                yield from ((encoder, bytes.fromhex(digest)) for digest in reader.digests())


def _mark_and_remove(connection: sqlite3.Connection, today: int) -> int:
    """Mark vectors as unused from today on, and remove old ones; returns how many were removed."""
    is_used = "(encoder, digest) IN (SELECT encoder, digest FROM used)"
    connection.execute(
        f"UPDATE vectors SET unused_since = NULL WHERE unused_since IS NOT NULL AND {is_used}"
    )
    connection.execute(
        f"UPDATE vectors SET unused_since = ? WHERE unused_since IS NULL AND NOT {is_used}",
        (today,),
    )
    removed = connection.execute(
        "DELETE FROM vectors WHERE unused_since <= ?", (today - _KEPT_DAYS,)
    )
    connection.execute("DELETE FROM sweeps")
    connection.execute("INSERT INTO sweeps VALUES (?)", (today,))
    return removed.rowcount


def _give_back_space(connection: sqlite3.Connection) -> None:
    """Compact the file when most of it is free space; otherwise new vectors fill the space."""
    (free,), (pages,) = (
        connection.execute(f"PRAGMA {what}").fetchone() for what in ("freelist_count", "page_count")
    )
    if 2 * free > pages:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
