"""Vectors for chunks: from the cache or an earlier index where they are known, else computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders
from modelyard.retrieval.cache import EmbeddingCache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE

_SAVED_EVERY_S = 8.0
"""Seconds of work after which vectors are saved: about what a killed run loses."""
_FIRST_BATCH = 32
"""Texts that are embedded before the speed is known."""
_LARGEST_BATCH = 8_192
_FASTEST_GROWTH = 4.0
"""How many times longer than the last batch the next one may be: the first ones run cold."""


@dataclass(slots=True)
class EmbeddingSpeed:
    """How fast texts are embedded, in characters, since a long text takes longer than a short one.

    Batches grow until one takes eight seconds, so that an encoder gets as many texts at once as it
    can use, and little is lost when the run is killed.
    """

    texts: int = 0
    """Texts so far."""
    characters: float = 0.0
    """Their characters."""
    _began: float = field(default_factory=lambda: time.monotonic())
    _per_batch: float | None = None

    def figures(self, texts: int, characters: float) -> str:
        """Such as `41 chunks/s · 3 min left`, of so many texts and characters in all."""
        passed_s = max(time.monotonic() - self._began, 1e-6)
        left = max(characters - self.characters, 0.0) if texts > self.texts else 0.0
        left_s = passed_s * left / max(self.characters, 1.0)
        shown = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
        return f"{self.texts / passed_s:,.0f} chunks/s · {shown} left"

    def batches(self, lengths: Sequence[int]) -> Iterator[slice]:
        """Texts of these lengths in batches, each as long as the earlier ones allow."""
        start = 0
        while start < len(lengths):
            stop, characters = start + 1, lengths[start]
            while stop < min(start + _LARGEST_BATCH, len(lengths)) and (
                stop - start < _FIRST_BATCH
                if self._per_batch is None
                else characters + lengths[stop] <= self._per_batch
            ):
                characters += lengths[stop]
                stop += 1
            began = time.monotonic()
            yield slice(start, stop)
            growth = _SAVED_EVERY_S / max(time.monotonic() - began, 1e-6)
            self._per_batch = max(1.0, characters) * min(growth, _FASTEST_GROWTH)
            start = stop


@dataclass(slots=True, kw_only=True)
class Embedding:
    """Makes the vectors of one update and counts them."""

    settings: Encoder
    """The encoder."""
    encoders: Encoders
    """Where it is opened."""
    cache: EmbeddingCache
    """Vectors made earlier."""
    progress: Progress
    """Where progress is reported."""
    embedded: int = 0
    """Texts that the encoder embedded."""
    from_cache: int = 0
    """Texts whose vector was known, from the cache or an earlier index."""
    find_elsewhere: Callable[[Sequence[str]], Mapping[str, bytes]] | None = None
    """Finds vectors that the cache does not have, by digest."""
    _counted: set[str] = field(default_factory=set, init=False)
    _speed: EmbeddingSpeed = field(default_factory=EmbeddingSpeed, init=False)

    def vectors(self, chunks: Iterable[Chunk], *, share: float = 1.0) -> dict[str, bytes]:
        """float16 bytes by digest, for all chunks; equal texts are embedded once.

        share: how much of all files has been read by now, to estimate the time left.
        """
        texts = {chunk.digest: chunk.embedded for chunk in chunks}
        found = self._find(list(texts), keep=True)
        self.from_cache += len(found)
        missing = [digest for digest in texts if digest not in found]
        if not missing:
            return found
        missing.sort(key=lambda digest: (len(texts[digest]), digest))
        lengths = [len(texts[digest]) for digest in missing]
        total = round((self.embedded + len(missing)) / max(share, 1e-3))
        characters = (self._speed.characters + sum(lengths)) / max(share, 1e-3)
        encoder = self.encoders.open(self.settings, texts=max(total, len(missing)))
        self.progress.begin("embed", total, "chunks")
        for batch in self._speed.batches(lengths):
            mean = sum(lengths[batch]) / len(lengths[batch])

            def count(more: int, mean: float = mean) -> None:
                self._speed.texts += more
                self._speed.characters += more * mean
                self.progress.advance(self._speed.texts, self._speed.figures(total, characters))

            digests = missing[batch]
            rows = encoder.encode([texts[digest] for digest in digests], on_progress=count)
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
        """Only count what `vectors` would do."""
        digests = {chunk.digest for chunk in chunks} - self._counted
        self._counted |= digests
        known = len(self._find(sorted(digests), keep=False))
        self.from_cache += known
        self.embedded += len(digests) - known

    def _find(self, digests: Sequence[str], *, keep: bool) -> dict[str, bytes]:
        """The known vectors of these texts; keep: put those from elsewhere into the cache."""
        found = self.cache.find(digests)
        missing = [digest for digest in digests if digest not in found]
        if missing and self.find_elsewhere is not None:
            elsewhere = self.find_elsewhere(missing)
            if elsewhere and keep:
                self.cache.keep(elsewhere)
            found |= elsewhere
        return found
