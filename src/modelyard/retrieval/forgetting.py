"""Letting go of vectors that no index uses, so that the embedding cache does not only grow.

Asked once a day, at the end of an update, and only where it is worth it. A vector goes when it has
been unused for a week: a branch that is checked out again, or a killed update that is run again,
finds its vectors. Whatever runs at the same time stays right, as a vector that is missed is made
again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress

from modelyard.core.errors import ModelyardError
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.state import transaction
from modelyard.retrieval.cache import connect_cache
from modelyard.retrieval.index_file import open_index

WORTH_BYTES = 64_000_000
"""Size of the cache from which it is looked at: some 70,000 vectors of 384 numbers."""
_KEPT_DAYS = 7
_DAY_S = 86_400


def forget_unused(
    project: Project,
    progress: Progress,
    *,
    today: int | None = None,
    worth_bytes: int = WORTH_BYTES,
) -> None:
    """Remove vectors that were unused for a week; `today` is in days since 1970.

    Raises nothing: the indexes are in step already, and another day will do.
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
    numbers = dict(connection.execute("SELECT fingerprint, id FROM encoders"))
    connection.execute("BEGIN")  # of the temporary table alone: updates go on meanwhile
    connection.executemany("INSERT OR IGNORE INTO used VALUES (?, ?)", _used(project, numbers))
    connection.execute("COMMIT")
    with transaction(connection):
        forgotten = _mark_and_remove(connection, today)
    if forgotten:
        progress.stage(f"cache: {forgotten:,} vectors that no index used for a week are forgotten")
        _give_back_space(connection)


def _used(project: Project, numbers: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    """(encoder, digest) of every chunk of every index. Raises when one cannot be read."""
    for path in project.search_indexes:
        with open_index(path) as reader:
            number = numbers.get(reader.meta.encoder)
            if number is not None:
                yield from ((number, bytes.fromhex(digest)) for digest in reader.digests())


def _mark_and_remove(connection: sqlite3.Connection, today: int) -> int:
    """Note what is unused and since when; returns how many vectors went."""
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
    """Write the file anew when most of it is empty; otherwise new vectors fill the gaps."""
    (free,), (pages,) = (
        connection.execute(f"PRAGMA {what}").fetchone() for what in ("freelist_count", "page_count")
    )
    if 2 * free > pages:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
