"""Postings: which chunks have a term and how often, read from SQLite's full-text index.

BM25 is computed here and not by FTS5, whose idf is zero for frequent terms, whose chunk lengths
leave out titles, and which visits the matches again for each query. Here the postings of a term
are read once and then kept with the index.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.retrieval.vectors import Floats, Rows

_LENGTHS_AT_ONCE = 4_096
_MOST_PLACES = 20_000_000
"""Postings and scores kept in memory, 12 bytes each and more; beyond that, all are dropped."""

BM25_K1 = 1.2
BM25_B = 0.75


@dataclass(frozen=True, slots=True)
class Places:
    """The chunks that have a term."""

    rows: Rows
    """Their rows, ascending."""
    in_title: Floats
    """How often the title of each has it."""
    in_text: Floats
    """How often the text of each has it."""


def attach_places(database: sqlite3.Connection) -> None:
    """Attach tables with the places of each term to a connection, outside a transaction."""
    for part in ("title", "text"):
        database.execute(
            f"create virtual table temp.{part}_places using fts5vocab(main, {part}_words, instance)"
        )


class Postings:
    """The full-text index of one snapshot; the postings that were used stay in memory."""

    def __init__(self, database: sqlite3.Connection, ids: Rows) -> None:
        """database: after `attach_places`.  ids: those of its chunks, ascending [n]."""
        self._database = database
        self._ids = ids
        self._places: dict[str, Places] = {}
        self._parts: dict[tuple[str, float], Floats] = {}
        self._kept = 0
        self._title_lengths = _read_lengths(database, "title", ids)
        self._text_lengths = _read_lengths(database, "text", ids)
        self._length_norms: dict[float, Floats] = {}

    def places(self, term: str) -> Places:
        """The chunks that have a term."""
        known = self._places.get(term)
        if known is None:
            known = self._read_places(term)
            self._make_room(len(known.rows))
            self._places[term] = known
        return known

    def rows_with_title(self, term: str) -> Rows:
        """The chunks that have a term in their title; of most terms no text is read for it."""
        known = self._places.get(term)
        if known is not None:
            return known.rows[known.in_title > 0]
        return self._read_counts(term, "title")[0]

    def frequency(self, term: str) -> int:
        """How many chunks have the term."""
        return len(self.places(term).rows)

    def idf(self, term: str) -> float:
        """The inverse document frequency of a term; largest for one that no chunk has."""
        n, df = len(self._ids), self.frequency(term)
        return math.log(1 + (n - df + 0.5) / (df + 0.5))

    def bm25(self, terms: Mapping[str, int], title_weight: float) -> Floats:
        """The BM25 of every chunk: float32 [n], 0 for a chunk without any of the terms.

        terms: those of the query, each with how often it has it, which is what it counts.  A term
        in the title counts `title_weight` times, in the chunk's length too.
        """
        total = np.zeros(len(self._ids), np.float32)
        for term, often in terms.items():
            at = self.places(term)
            part = self._part(term, at, title_weight)
            total[at.rows] += part if often == 1 else np.float32(often) * part
        return total

    def ideal_bm25(self, terms: Mapping[str, int]) -> float:
        """The BM25 of a chunk that is full of every term."""
        weights = (often * self.idf(term) for term, often in terms.items())
        return max((BM25_K1 + 1) * sum(weights), 1e-6)

    def rows_with_all(self, terms: Sequence[str]) -> Rows:
        """The chunks that have every one of the terms (all, where there is no term)."""
        found = np.arange(len(self._ids))
        for term in sorted(terms, key=self.frequency):
            found = np.intersect1d(found, self.places(term).rows, assume_unique=True)
        return found

    def _part(self, term: str, at: Places, title_weight: float) -> Floats:
        """What a term contributes to the BM25 of each chunk that has it."""
        known = self._parts.get((term, title_weight))
        if known is None:
            often = title_weight * at.in_title + at.in_text
            norms = self._length_norm(title_weight)[at.rows]
            known = np.float32(self.idf(term) * (BM25_K1 + 1)) * often / (often + norms)
            self._make_room(len(known))
            self._parts[term, title_weight] = known
        return known

    def _make_room(self, places: int) -> None:
        self._kept += places
        if self._kept > _MOST_PLACES:
            self._places.clear()
            self._parts.clear()
            self._kept = places

    def _length_norm(self, title_weight: float) -> Floats:
        """k1 (1 - b + b length / mean length) of each chunk."""
        known = self._length_norms.get(title_weight)
        if known is None:
            lengths = title_weight * self._title_lengths + self._text_lengths
            mean = max(float(lengths.mean()), 1e-6) if len(lengths) else 1.0
            known = (BM25_K1 * (1 - BM25_B + BM25_B * lengths / mean)).astype(np.float32)
            self._length_norms[title_weight] = known
        return known

    def _read_places(self, term: str) -> Places:
        title_rows, in_title = self._read_counts(term, "title")
        text_rows, in_text = self._read_counts(term, "text")
        if not len(title_rows):
            return Places(text_rows, np.zeros(len(text_rows), np.float32), in_text)
        rows = merge_rows(title_rows, text_rows)
        counts = np.zeros((2, len(rows)), np.float32)
        counts[0, np.searchsorted(rows, title_rows)] = in_title
        counts[1, np.searchsorted(rows, text_rows)] = in_text
        return Places(rows, counts[0], counts[1])

    def _read_counts(self, term: str, part: str) -> tuple[Rows, Floats]:
        """The chunks whose title or text has a term, ascending, and how often.

        FTS5 returns a chunk once for each occurrence. They are read as one string, which is four
        times as fast as one row for each.
        """
        question = f"select group_concat(doc) from temp.{part}_places where term = ?"
        packed = self._database.execute(question, (term,)).fetchone()[0]
        if packed is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        places = np.fromstring(packed, np.int64, sep=",")
        starts = np.flatnonzero(np.diff(places, prepend=places[0] - 1))
        counts = np.diff(starts, append=len(places)).astype(np.float32)
        return self._rows_of(places[starts]), counts

    def _rows_of(self, ids: Rows) -> Rows:
        if len(self._ids) and self._ids[-1] - self._ids[0] == len(self._ids) - 1:  # without gaps
            rows: Rows = ids - self._ids[0]
        else:
            rows = np.searchsorted(self._ids, ids)
        return rows


def merge_rows(rows: Rows, others: Rows) -> Rows:
    """Rows of both, each once, ascending. (np.unique and others import masked arrays, 15 ms.)"""
    both = np.sort(np.concatenate([rows, others]))
    return both[np.diff(both, prepend=-1) > 0]


def _read_lengths(database: sqlite3.Connection, part: str, ids: Rows) -> Floats:
    """Terms in the title or the text of each chunk, from FTS5's own table of sizes."""
    lengths = np.zeros(len(ids), np.float32)
    found = database.execute(f"select id, sz from {part}_words_docsize order by id")
    while rows := found.fetchmany(_LENGTHS_AT_ONCE):
        places = np.searchsorted(ids, [id for id, _ in rows])
        lengths[places] = _varints(b"".join(packed for _, packed in rows))
    return lengths


def _varints(packed: bytes) -> Rows:
    """The numbers of consecutive SQLite varints: seven bits a byte, the highest first.

    The last byte of each number is below 128.
    """
    data = np.frombuffer(packed, np.uint8).astype(np.int64)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shifts = 7 * (np.repeat(ends, ends - starts + 1) - np.arange(len(data)))
    values: Rows = np.add.reduceat((data & 0x7F) << shifts, starts)
    return values
