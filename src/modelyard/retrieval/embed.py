"""Vectors for chunks: from the cache where they were made before, else from the encoder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.progress import Progress
from modelyard.encoders.pool import Encoders
from modelyard.retrieval.cache import EmbeddingCache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE

_KEPT_EVERY_S = 8.0
"""Seconds of work after which vectors are kept: about what a killed run loses."""
_FIRST_PIECE = 32
"""Texts that are embedded before the pace is known."""
_LARGEST_PIECE = 8_192
_FASTEST_GROWTH = 4.0
"""How many times longer than the last piece the next one may be: the first ones run cold."""


@dataclass(slots=True)
class Pace:
    """How fast it goes. Work is counted in characters: a long text takes longer than a short one.

    Pieces grow until one takes eight seconds, so that an encoder gets as many texts at once as it
    can use, and little is lost when the run is killed.
    """

    texts: int = 0
    """Texts so far."""
    characters: float = 0.0
    """Their characters."""
    _began: float = field(default_factory=lambda: time.monotonic())
    _per_piece: float | None = None

    def figures(self, texts: int, characters: float) -> str:
        """Such as `41 chunks/s · 3 min left`, of so many texts and characters in all."""
        passed_s = max(time.monotonic() - self._began, 1e-6)
        left = max(characters - self.characters, 0.0) if texts > self.texts else 0.0
        left_s = passed_s * left / max(self.characters, 1.0)
        shown = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
        return f"{self.texts / passed_s:,.0f} chunks/s · {shown} left"

    def pieces(self, lengths: Sequence[int]) -> Iterator[slice]:
        """Texts of these lengths in pieces, each as long as the ones before it allow."""
        start = 0
        while start < len(lengths):
            stop, piece = start, 0
            while stop < min(start + _LARGEST_PIECE, len(lengths)) and (
                stop == start or self._fits(piece + lengths[stop], stop - start + 1)
            ):
                piece += lengths[stop]
                stop += 1
            began = time.monotonic()
            yield slice(start, stop)
            self._learn(piece, time.monotonic() - began)
            start = stop

    def _fits(self, characters: int, texts: int) -> bool:
        return texts <= _FIRST_PIECE if self._per_piece is None else characters <= self._per_piece

    def _learn(self, characters: int, took_s: float) -> None:
        """Take the next piece as long as it may be, going by one that took so long."""
        growth = _KEPT_EVERY_S / max(took_s, 1e-6)
        self._per_piece = max(1.0, characters) * min(growth, _FASTEST_GROWTH)


@dataclass(slots=True, kw_only=True)
class Embedding:
    """Makes the vectors of one update and counts them."""

    settings: Encoder
    """What makes them."""
    encoders: Encoders
    """Where it is opened."""
    cache: EmbeddingCache
    """What was made before."""
    progress: Progress
    """Told how far it is."""
    embedded: int = 0
    """Texts that the encoder was given."""
    from_cache: int = 0
    """Texts whose vector was known."""
    _counted: set[str] = field(default_factory=set, init=False)
    _pace: Pace = field(default_factory=Pace, init=False)

    def vectors(self, chunks: Iterable[Chunk], *, share: float = 1.0) -> dict[str, bytes]:
        """float16 bytes by digest, for all of them; equal texts are embedded once.

        `share` says how much of the whole work has been cut by now, for the time left.
        """
        texts = {chunk.digest: chunk.embedded for chunk in chunks}
        found = self.cache.find(list(texts))
        self.from_cache += len(found)
        missing = [digest for digest in texts if digest not in found]
        if not missing:
            return found
        missing.sort(key=lambda digest: (len(texts[digest]), digest))
        lengths = [len(texts[digest]) for digest in missing]
        total = round((self.embedded + len(missing)) / max(share, 1e-3))
        characters = (self._pace.characters + sum(lengths)) / max(share, 1e-3)
        encoder = self.encoders.open(self.settings, texts=max(total, len(missing)))
        self.progress.begin("embed", total, "chunks")
        for piece in self._pace.pieces(lengths):
            mean = sum(lengths[piece]) / len(lengths[piece])

            def count(more: int, mean: float = mean) -> None:
                self._pace.texts += more
                self._pace.characters += more * mean
                self.progress.advance(self._pace.texts, self._pace.figures(total, characters))

            digests = missing[piece]
            rows = encoder.encode([texts[one] for one in digests], on_progress=count)
            made = {
                digest: row.tobytes()
                for digest, row in zip(digests, rows.astype(VECTOR_TYPE), strict=True)
            }
            self.cache.keep(made)
            found |= made
            self.embedded += len(digests)
        self.progress.end()
        return found

    def count(self, chunks: Iterable[Chunk]) -> None:
        """Only say what `vectors` would do."""
        digests = {chunk.digest for chunk in chunks} - self._counted
        self._counted |= digests
        known = len(self.cache.find(sorted(digests)))
        self.from_cache += known
        self.embedded += len(digests) - known
