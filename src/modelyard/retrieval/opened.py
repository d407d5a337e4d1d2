"""One index, opened to be searched: its vectors, its postings, its chunks.

Vectors and postings stay in memory for as long as the index has the same snapshot; each search
reads in one transaction, so all that it shows comes from one whole snapshot.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.retrieval.damage import damage_errors, index_errors
from modelyard.retrieval.index_file import (
    IndexedChunk,
    IndexMeta,
    IndexReader,
    connect_index,
    identify_index,
    is_of_a_killed_writer,
    open_index,
    read_meta,
)
from modelyard.retrieval.postings import Postings, attach_places
from modelyard.retrieval.query import stands_in
from modelyard.retrieval.vectors import VectorTable

Rows = npt.NDArray[np.int64]

_ATTEMPTS = 5
"""How often another killed writer may come between."""
_NOT_LIKE = re.compile(r"[^\x20-\x7e]|[%_\\]")
"""What means something else to LIKE, or has capitals that it does not know."""
_WORDS_LIKE, _LONGEST_LIKE = 8, 50
_IN_ONE_QUESTION = 500
"""Chunks asked for by one SQL statement; SQLite takes 999 values and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a chunk comes from: enough to weigh it, without its text."""

    path: str
    """Its file, from the project's root."""
    modified_at: str
    """When the file was last written, in UTC."""
    digest: str
    """SHA-256 of what is embedded; equal chunks have the same."""
    last_seen: str | None
    """For a log's template: when it was last seen."""
    size_bytes: int
    """Size of the file when it was read."""
    mtime_ns: int
    """When the file was written, in nanoseconds since 1970."""
    sha256: str
    """Of the bytes of the file."""
    function: str
    """The title of the function that it is a piece of; empty for what is none."""


class Snapshot:
    """What one snapshot of an index says."""

    def __init__(self, database: sqlite3.Connection, meta: IndexMeta) -> None:
        self.meta = meta
        self._database = database
        self._reader = IndexReader(database, meta)
        self._paths: dict[str, list[str]] | None = None
        ids, vectors = self._reader.vectors()
        self.ids: Rows = ids
        self.vectors = VectorTable(vectors)
        self.postings = Postings(database, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def sources(self, rows: Rows) -> Mapping[int, Source]:
        """Where the chunks of these rows come from, by row."""
        found = self._ask(
            "select p.id, f.path, f.modified_at, p.digest, json_extract(p.facts, '$.last_seen'), "
            "f.size_bytes, f.mtime_ns, f.sha256, iif(p.kind = 'function', p.title, '') "
            "from passages p join files f on f.id = p.file_id where p.id in ({})",
            rows,
        )
        row_of = dict(zip(self.ids[rows].tolist(), rows.tolist(), strict=True))
        return {
            row_of[id]: Source(
                path=path,
                modified_at=str(modified_at),
                digest=digest,
                last_seen=last_seen,
                size_bytes=size_bytes,
                mtime_ns=mtime_ns,
                sha256=sha256,
                function=function,
            )
            for (
                id,
                path,
                modified_at,
                digest,
                last_seen,
                size_bytes,
                mtime_ns,
                sha256,
                function,
            ) in found
        }

    def chunks(self, rows: Rows) -> list[IndexedChunk]:
        """The chunks of these rows, in their order."""
        return self._reader.chunks([int(id) for id in self.ids[rows]])

    def paths(self) -> list[str]:
        """Every file of the index."""
        return [path for paths in self._paths_by_name().values() for path in paths]

    def paths_called(self, name: str) -> list[str]:
        """The files that a path or a file's name means: `files.py` is src/core/files.py too."""
        same_name = self._paths_by_name().get(name.rpartition("/")[2], [])
        return [path for path in same_name if path == name or path.endswith(f"/{name}")]

    def _paths_by_name(self) -> Mapping[str, list[str]]:
        if self._paths is None:
            self._paths = {}
            for (path,) in self._database.execute("select path from files order by path"):
                self._paths.setdefault(path.rpartition("/")[2], []).append(path)
        return self._paths

    def rows_of_paths(self, paths: Sequence[str]) -> Rows:
        """The chunks of these files."""
        wanted = json.dumps(list(paths))
        return self._rows(
            "select p.id from passages p join files f on f.id = p.file_id "
            "where f.path in (select value from json_each(?)) order by p.id",
            (wanted,),
        )

    def rows_of_kind(self, kind: str) -> Rows:
        """The chunks of this kind."""
        return self._rows("select id from passages where kind = ? order by id", (kind,))

    def rows_with_fact(self, name: str, value: str) -> Rows:
        """The chunks that have this fact."""
        quoted = name.replace('"', "")
        return self._rows(
            "select id from passages where json_extract(facts, ?) = ? order by id",
            (f'$."{quoted}"', value),
        )

    def kinds(self) -> list[str]:
        """What its chunks are: section, function, key ..."""
        return self._words("select distinct kind from passages order by 1")

    def fact_names(self) -> list[str]:
        """Every fact that some chunk has; reads all of them."""
        return self._words("select distinct key from passages, json_each(facts) order by 1")

    def fact_values(self, name: str) -> list[str]:
        """What chunks say of one fact; reads all of them."""
        return self._words(
            "select distinct cast(value as text) from passages, json_each(facts) "
            "where key = ? order by 1",
            (name,),
        )

    def rows_that_say(self, phrase: str, among: Rows) -> Rows:
        """Those of some chunks in which a phrase stands, whatever its capitals and line ends."""
        found = self._database.execute(
            "select id, title || char(10) || text as said from passages "
            "where id in (select value from json_each(?)) and said like ? order by id",
            (json.dumps(self.ids[among].tolist()), _like(phrase)),
        )
        saying = [id for id, said in found if stands_in(phrase, said)]
        return np.searchsorted(self.ids, np.array(saying, np.int64))

    def _rows(self, question: str, values: tuple[str, ...]) -> Rows:
        found = [id for (id,) in self._database.execute(question, values)]
        return np.searchsorted(self.ids, np.array(found, np.int64))

    def _words(self, question: str, values: tuple[str, ...] = ()) -> list[str]:
        return [word for (word,) in self._database.execute(question, values)]

    def _ask(self, question: str, rows: Rows) -> Iterator[tuple[Any, ...]]:
        ids = [int(id) for id in self.ids[rows]]
        for start in range(0, len(ids), _IN_ONE_QUESTION):
            some = ids[start : start + _IN_ONE_QUESTION]
            yield from self._database.execute(question.format(",".join("?" * len(some))), some)


def _like(phrase: str) -> str:
    """A pattern for SQLite that lets through all that has the phrase, and little else."""
    words = [_NOT_LIKE.sub("%", word[:_LONGEST_LIKE]) for word in phrase.split()[:_WORDS_LIKE]]
    return f"%{'%'.join(words)}%"


class OpenedIndex:
    """An index that stays open: each search asks it for the snapshot that is current then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._snapshot: Snapshot | None = None

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """One whole snapshot, in one transaction.

        Raises IndexMissing when there is no index, and IndexDamaged when the file is none.
        """
        with index_errors(self._path):
            database, meta = self._begin()
            try:
                with damage_errors(database, self._path):
                    if self._snapshot is None or self._snapshot.meta.version != meta.version:
                        self._snapshot = None  # before the next is read: two would not always fit
                        self._snapshot = Snapshot(database, meta)
                    yield self._snapshot
            finally:
                if database.in_transaction:  # some errors have ended it already
                    database.execute("rollback")

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._snapshot = self._file = None

    def _begin(self) -> tuple[sqlite3.Connection, IndexMeta]:
        """A connection in a transaction, after what a killed writer left was undone."""
        for _ in range(_ATTEMPTS):
            try:
                return self._try_to_begin()
            except sqlite3.Error as error:
                if not is_of_a_killed_writer(error):
                    raise
                self.close()
            with open_index(self._path):  # rolls it back
                pass
        return self._try_to_begin()

    def _try_to_begin(self) -> tuple[sqlite3.Connection, IndexMeta]:
        database = self._connect()
        database.execute("begin")
        try:
            return database, read_meta(database, self._path)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """A connection to the file that lies there now; a rebuild puts another in its place."""
        found = identify_index(self._path)
        if self._database is None or self._file != found:
            self.close()
            self._database = connect_index(self._path, "ro")
            self._database.execute("pragma temp_store = memory")
            attach_places(self._database)
            self._file = found
        return self._database


def check_index(path: Path) -> None:
    """Read all of an index, every word included: seconds for 70 MB.

    Raises IndexDamaged, saying what is wrong with it.
    """
    with open_index(path):  # undoes what a killed writer left
        pass
    with index_errors(path), closing(connect_index(path, "ro")) as database:
        attach_places(database)
        database.execute("begin")
        with damage_errors(database, path):
            IndexReader(database, read_meta(database, path)).check()
