"""An index that is open for searching, and one snapshot of it: vectors, postings, chunks.

Vectors and postings stay in memory while the index keeps the same version. Each search reads in one
transaction, so its results come from one snapshot.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

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
from modelyard.retrieval.query import has_phrase
from modelyard.retrieval.vectors import Rows, VectorTable

_ATTEMPTS = 5
"""How often the journal of another killed writer may appear meanwhile."""
_NOT_LIKE = re.compile(r"[^\x20-\x7e]|[%_\\]")
"""Characters that LIKE treats as patterns, or whose case it does not know."""
_WORDS_LIKE, _LONGEST_LIKE = 8, 50


@dataclass(frozen=True, slots=True)
class ChunkSource:
    """Where a chunk comes from: what ranking needs of it, without its text.

    In the order of the columns that `IndexSnapshot.sources` reads.
    """

    path: str
    """Its file, from the project's root."""
    modified_at: str
    """When the file was last written, in UTC."""
    digest: str
    """SHA-256 of what is embedded; equal for equal chunks."""
    last_seen: str | None
    """For a message template of a log: when it was last seen."""
    size_bytes: int
    """Size of the file when it was read."""
    mtime_ns: int
    """When the file was written, in nanoseconds since 1970."""
    sha256: str
    """Of the bytes of the file."""
    function: str
    """The title of the function that it belongs to; empty for other chunks."""
    symbol: str
    """The name that it defines; empty where it defines none."""
    members: str
    """The names that a class or a namespace in it defines, separated by spaces."""


class IndexSnapshot:
    """One snapshot of an index; a row is the place of a chunk in it."""

    def __init__(self, database: sqlite3.Connection, meta: IndexMeta) -> None:
        self.meta = meta
        self._database = database
        self._reader = IndexReader(database, meta)
        self.ids, vectors = self._reader.vectors()
        self.vectors = VectorTable(vectors)
        self.postings = Postings(database, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def sources(self, rows: Rows) -> Mapping[int, ChunkSource]:
        """Where the chunks of these rows come from, by row."""
        found = self._database.execute(
            "select p.id, f.path, f.modified_at, p.digest, json_extract(p.facts, '$.last_seen'), "
            "f.size_bytes, f.mtime_ns, f.sha256, iif(p.kind = 'function', p.title, ''), "
            "coalesce(json_extract(p.facts, '$.symbol'), ''), "
            "coalesce(json_extract(p.facts, '$.members'), '') "
            "from passages p join files f on f.id = p.file_id where p.id "
            "in (select value from json_each(?))",
            (json.dumps(self.ids[rows].tolist()),),
        )
        row_of = dict(zip(self.ids[rows].tolist(), rows.tolist(), strict=True))
        return {row_of[id]: ChunkSource(*columns) for id, *columns in found}

    def chunks(self, rows: Rows) -> list[IndexedChunk]:
        """The chunks of these rows, in their order."""
        return self._reader.chunks(self.ids[rows].tolist())

    def paths(self) -> list[str]:
        """Every file of the index."""
        return [path for paths in self._paths_by_name.values() for path in paths]

    def paths_called(self, name: str) -> list[str]:
        """The files with this path or name: `files.py` matches src/core/files.py too."""
        same_name = self._paths_by_name.get(name.rpartition("/")[2], [])
        return [path for path in same_name if path == name or path.endswith(f"/{name}")]

    @cached_property
    def _paths_by_name(self) -> Mapping[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for path in self._values("select path from files order by path"):
            paths.setdefault(path.rpartition("/")[2], []).append(path)
        return paths

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
        """The kinds of its chunks: section, function, key ..."""
        return self._values("select distinct kind from passages order by 1")

    def fact_names(self) -> list[str]:
        """The names of all facts; reads every chunk."""
        return self._values("select distinct key from passages, json_each(facts) order by 1")

    def fact_values(self, name: str) -> list[str]:
        """The values of one fact; reads every chunk."""
        return self._values(
            "select distinct cast(value as text) from passages, json_each(facts) "
            "where key = ? order by 1",
            (name,),
        )

    def rows_with_phrase(self, phrase: str, among: Rows) -> Rows:
        """Those of some chunks that have a phrase; case and line ends do not matter."""
        found = self._database.execute(
            "select id, title || char(10) || text as whole from passages "
            "where id in (select value from json_each(?)) and whole like ? order by id",
            (json.dumps(self.ids[among].tolist()), _like(phrase)),
        )
        return self._rows_of_ids([id for id, whole in found if has_phrase(whole, phrase)])

    def _rows(self, question: str, values: tuple[str, ...]) -> Rows:
        return self._rows_of_ids(self._values(question, values))

    def _rows_of_ids(self, ids: Sequence[int]) -> Rows:
        return np.searchsorted(self.ids, np.array(ids, np.int64))

    def _values(self, question: str, values: tuple[str, ...] = ()) -> list[Any]:
        return [value for (value,) in self._database.execute(question, values)]


def _like(phrase: str) -> str:
    """An SQLite pattern that matches every text with the phrase, and few others."""
    words = [_NOT_LIKE.sub("%", word[:_LONGEST_LIKE]) for word in phrase.split()[:_WORDS_LIKE]]
    return f"%{'%'.join(words)}%"


class OpenedIndex:
    """An index that stays open; each search reads the snapshot that is current then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._snapshot: IndexSnapshot | None = None

    @contextmanager
    def reading(self) -> Iterator[IndexSnapshot]:
        """The current snapshot, in one transaction.

        Raises IndexMissing when there is no index, and IndexDamaged when the file is not an index.
        """
        with index_errors(self.path):
            database, meta = self._begin()
            try:
                with damage_errors(database, self.path):
                    if self._snapshot is None or self._snapshot.meta.version != meta.version:
                        self._snapshot = None  # two do not always fit in memory
                        self._snapshot = IndexSnapshot(database, meta)
                    yield self._snapshot
            finally:
                if database.in_transaction:  # some errors end it
                    database.execute("rollback")

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._snapshot = self._file = None

    def _begin(self) -> tuple[sqlite3.Connection, IndexMeta]:
        """A connection in a transaction, after the changes of a killed writer were rolled back."""
        for _ in range(_ATTEMPTS):
            try:
                return self._try_to_begin()
            except sqlite3.Error as error:
                if not is_of_a_killed_writer(error):
                    raise
                self.close()
            with open_index(self.path):  # rolls them back
                pass
        return self._try_to_begin()

    def _try_to_begin(self) -> tuple[sqlite3.Connection, IndexMeta]:
        database = self._connect()
        database.execute("begin")
        try:
            return database, read_meta(database, self.path)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """A connection to the file that is there now; a rebuild replaces it by another."""
        found = identify_index(self.path)
        if self._database is None or self._file != found:
            self.close()
            self._database = connect_index(self.path, "ro")
            self._database.execute("pragma temp_store = memory")
            attach_places(self._database)
            self._file = found
        return self._database


def check_index(path: Path) -> None:
    """Read all of an index, every term included: seconds for 70 MB.

    Raises IndexDamaged with what is wrong.
    """
    with open_index(path):  # rolls back the changes of a killed writer
        pass
    with index_errors(path), closing(connect_index(path, "ro")) as database:
        attach_places(database)
        database.execute("begin")
        with damage_errors(database, path):
            IndexReader(database, read_meta(database, path)).check()
