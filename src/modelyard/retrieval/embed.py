"""Vectors for passages: from the cache where they were made before, else from the encoder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.progress import Progress
from modelyard.retrieval.cache import EmbeddingCache
from modelyard.retrieval.encoders import Encoders
from modelyard.retrieval.index import VECTOR_TYPE
from modelyard.retrieval.passage import Passage

_KEPT_AT_ONCE = 256
"""Texts that are embedded before their vectors are kept: what a killed run may lose."""


@dataclass(slots=True)
class Pace:
    """How fast it goes."""

    done: int = 0
    """Texts so far."""
    _began: float = field(default_factory=time.monotonic)

    def figures(self, total: int) -> str:
        """Such as `41 passages/s · 3 min left`."""
        rate = self.done / max(time.monotonic() - self._began, 1e-6)
        left_s = max(total - self.done, 0) / max(rate, 1e-6)
        left = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
        return f"{rate:,.0f} passages/s · {left} left"


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

    def vectors(self, passages: Iterable[Passage], *, share: float = 1.0) -> dict[str, bytes]:
        """float16 bytes by digest, for all of them; equal texts are embedded once.

        `share` says how much of the whole work has been cut by now, for the time left.
        """
        texts = {passage.digest: passage.embedded for passage in passages}
        found = self.cache.find(list(texts))
        self.from_cache += len(found)
        missing = [digest for digest in texts if digest not in found]
        if not missing:
            return found
        missing.sort(key=lambda digest: (len(texts[digest]), digest))
        total = round((self.embedded + len(missing)) / max(share, 1e-3))
        encoder = self.encoders.open(self.settings, texts=max(total, len(missing)))
        self.progress.begin("embed", total, "passages")

        def count(more: int) -> None:
            self._pace.done += more
            self.progress.advance(self._pace.done, self._pace.figures(total))

        for digests in _parts(missing):
            rows = encoder.encode([texts[one] for one in digests], on_progress=count).astype(
                VECTOR_TYPE
            )
            made = {digest: row.tobytes() for digest, row in zip(digests, rows, strict=True)}
            self.cache.keep(made)
            found |= made
            self.embedded += len(digests)
        self.progress.end()
        return found

    def count(self, passages: Iterable[Passage]) -> None:
        """Only say what `vectors` would do."""
        digests = {passage.digest for passage in passages} - self._counted
        self._counted |= digests
        known = len(self.cache.find(sorted(digests)))
        self.from_cache += known
        self.embedded += len(digests) - known


def _parts(digests: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(digests), _KEPT_AT_ONCE):
        yield digests[start : start + _KEPT_AT_ONCE]
