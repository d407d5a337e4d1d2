"""Postings: which passages a term stands in and how often, read from SQLite's full-text index.

BM25 is computed here and not by FTS5: its idf is cut at nothing for frequent terms, its titles do
not count in a passage's length, and it visits each match of a query anew. Here a term's places are
read once, and then kept as long as the index is.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BM25_K1 = 1.2
BM25_B = 0.75

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """Where one term stands."""

    rows: Rows
    """Passages by row, each once, ascending."""
    in_title: Floats
    """How often it stands in the title of each."""
    in_text: Floats
    """How often it stands in the text of each."""


def attach_places(database: sqlite3.Connection) -> None:
    """Let a connection to an index be asked where a term stands, outside a transaction."""
    database.execute("create virtual table temp.word_places using fts5vocab(main, words, instance)")


class Postings:
    """The full-text index of one snapshot, in memory as far as it was asked for."""

    def __init__(self, database: sqlite3.Connection, ids: Rows) -> None:
        """database: after `attach_places`.  ids: the rowids of its `words`, ascending [n]."""
        self._database = database
        self._ids = ids
        self._places: dict[str, Places] = {}
        self._title_lengths, self._text_lengths = _read_lengths(database, ids)
        self._longness: dict[float, Floats] = {}

    def places(self, term: str) -> Places:
        """Where a term stands: nowhere, for a term that no passage has."""
        known = self._places.get(term)
        if known is None:
            known = self._places[term] = self._read_places(term)
        return known

    def frequency(self, term: str) -> int:
        """How many passages have the term."""
        return len(self.places(term).rows)

    def idf(self, term: str) -> float:
        """How much a term tells; the most, for one that no passage has."""
        n, df = len(self._ids), self.frequency(term)
        return math.log(1 + (n - df + 0.5) / (df + 0.5))

    def bm25(self, terms: Iterable[str], title_weight: float) -> Floats:
        """The BM25 of every passage: float32 [n], 0 where none of the terms stands.

        A word of the title counts as `title_weight` words, in the passage's length too.
        """
        total = np.zeros(len(self._ids), np.float32)
        longness = self._longness_at(title_weight)
        for term in terms:
            at = self.places(term)
            often = title_weight * at.in_title + at.in_text
            part = often * (BM25_K1 + 1) / (often + longness[at.rows])
            total[at.rows] += np.float32(self.idf(term)) * part
        return total

    def rows_with_all(self, terms: Sequence[str]) -> Rows:
        """The passages that have every one of the terms (all, where there is no term)."""
        found = np.arange(len(self._ids))
        for term in sorted(terms, key=self.frequency):
            found = np.intersect1d(found, self.places(term).rows, assume_unique=True)
        return found

    def _longness_at(self, title_weight: float) -> Floats:
        """k1 (1 - b + b length / mean length) of each passage."""
        known = self._longness.get(title_weight)
        if known is None:
            lengths = title_weight * self._title_lengths + self._text_lengths
            mean = max(float(lengths.mean()), 1e-6) if len(lengths) else 1.0
            known = (BM25_K1 * (1 - BM25_B + BM25_B * lengths / mean)).astype(np.float32)
            self._longness[title_weight] = known
        return known

    def _read_places(self, term: str) -> Places:
        found = self._database.execute(
            "select doc, col = 'title' from temp.word_places where term = ?", (term,)
        ).fetchall()
        if not found:
            none = np.zeros(0, np.float32)
            return Places(np.zeros(0, np.int64), none, none)
        pairs = np.array(found, np.int64)
        documents = pairs[:, 0]  # FTS5 gives them in ascending order
        starts = np.flatnonzero(np.diff(documents, prepend=documents[0] - 1))
        in_title = np.add.reduceat(pairs[:, 1], starts).astype(np.float32)
        everywhere = np.diff(starts, append=len(documents)).astype(np.float32)
        rows = np.searchsorted(self._ids, documents[starts])
        return Places(rows, in_title, everywhere - in_title)


def _read_lengths(database: sqlite3.Connection, ids: Rows) -> tuple[Floats, Floats]:
    """Terms in the title and in the text of each passage, from FTS5's own table of sizes."""
    title, text = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    rows = database.execute("select id, sz from words_docsize order by id").fetchall()
    places = np.searchsorted(ids, np.array([id for id, _ in rows], np.int64))
    for place, (_, packed) in zip(places, rows, strict=True):
        title[place], rest = _varint(packed, 0)
        text[place], _ = _varint(packed, rest)
    return title, text


def _varint(packed: bytes, start: int) -> tuple[int, int]:
    """SQLite's varint at a place, and where it ends: seven bits a byte, the highest first."""
    value = 0
    for place in range(start, len(packed)):
        value = value << 7 | packed[place] & 0x7F
        if packed[place] < 0x80:
            return value, place + 1
    return value, len(packed)
