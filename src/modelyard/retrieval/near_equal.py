"""Near-equal paragraphs: those that two versions of a page share but for some words, no number.

Two hits are one where they stand in files of one name, in prose of the same index, and nine of ten
of their words are the same, however often each occurs (Dice's coefficient of the two multisets).
Another number, such as a version, a port or a limit, is what a reader may look for: both are shown.
Only hits whose vectors nearly agree are compared, so few texts are read.

Source: Manning et al., Introduction to Information Retrieval, 2008, ch. 19.6 (near-duplicates).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from modelyard.retrieval.candidates import Candidate
    from modelyard.retrieval.index_file import IndexedChunk

SAME_WORDS = 0.9
"""The share of words that near-equal texts have in common."""
_FEWEST_WORDS = 12
"""Shorter texts may differ in the one word that matters."""
_SAME_MEANING = 0.9
"""The cosine from which on texts are read and compared."""
_COMPARED = 3
"""Hits that are compared, for each that is wanted."""
_CHUNKERS = ("markdown", "paragraphs", "auto")
_KINDS = ("section", "text")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_VERSION = re.compile(r"[\d._-]+")


def join_near_equal(hits: Sequence[list[Candidate]], count: int) -> list[list[Candidate]]:
    """The hits, with near-equal ones among the best joined to the first of them.

    hits: candidates of one text each, best first.  count: how many are wanted.
    """
    compared = [_Compared(hit) for hit in hits[: _COMPARED * count]]
    by_page: dict[tuple[str, str], list[_Compared]] = {}
    kept: list[list[Candidate]] = []
    for each in compared:
        page = by_page.setdefault(each.page, [])
        first = next((other for other in page if other.near(each)), None) if each.page[1] else None
        if first is not None:
            first.hit += each.hit
            continue
        page.append(each)
        kept.append(each.hit)
    return [*kept, *hits[len(compared) :]]


class _Compared:
    """A hit that is compared with others; its vector and its text are read when they must be."""

    def __init__(self, hit: list[Candidate]) -> None:
        self.hit = hit
        best = hit[0]
        path = PurePosixPath(best.source.path)
        name = _VERSION.sub("", path.name) if best.index.settings.chunker in _CHUNKERS else ""
        self.page = (best.index.label, name)

    def near(self, other: _Compared) -> bool:
        """Whether another hit says nearly the same in another file."""
        if self.hit[0].source.path == other.hit[0].source.path:
            return False
        if float(self._vector @ other._vector) < _SAME_MEANING:
            return False
        if self._chunk.kind not in _KINDS or other._chunk.kind not in _KINDS:
            return False
        if self._numbers != other._numbers:
            return False
        total = self._words.total() + other._words.total()
        if total < 2 * _FEWEST_WORDS:
            return False
        return 2 * (self._words & other._words).total() >= SAME_WORDS * total

    @cached_property
    def _vector(self) -> np.ndarray:
        best = self.hit[0]
        vector: np.ndarray = best.snapshot.vectors.rows(np.array([best.row]))[0]
        return vector

    @cached_property
    def _chunk(self) -> IndexedChunk:
        best = self.hit[0]
        return best.snapshot.chunks(np.array([best.row]))[0]

    @cached_property
    def _numbers(self) -> Counter[str]:
        return Counter(_NUMBER.findall(self._chunk.text))

    @cached_property
    def _words(self) -> Counter[str]:
        return Counter(self._chunk.text.casefold().split())
