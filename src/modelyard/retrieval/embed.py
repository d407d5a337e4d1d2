"""Vectors for chunks: from the cache or an earlier index where they are known, else computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.encoders import Encoders, TextEncoder
from modelyard.retrieval.cache import EmbeddingCache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE
from modelyard.settings.units import MONEY

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
    charged_tokens: int = 0
    """Tokens that the encoder's service charged for; where texts are only counted, an estimate."""
    find_elsewhere: Callable[[Sequence[str]], Mapping[str, bytes]] | None = None
    """Finds vectors that the cache does not have, by digest."""
    _counted: set[str] = field(default_factory=set, init=False)
    _speed: EmbeddingSpeed = field(default_factory=EmbeddingSpeed, init=False)

    @property
    def cost_usd(self) -> float | None:
        """What these tokens cost; None for an encoder that has no price, since it runs here."""
        price = self.settings.price_per_million_usd
        return None if price is None else self.charged_tokens * price / 1e6

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
        if not self.embedded:
            self._say_what_it_costs(encoder, [texts[digest] for digest in missing], share)
        self.progress.begin("embed", total, "chunks")
        for batch in self._speed.batches(lengths):
            mean = sum(lengths[batch]) / len(lengths[batch])

            def count(more: int, mean: float = mean) -> None:
                self._speed.texts += more
                self._speed.characters += more * mean
                self.progress.advance(self._speed.texts, self._speed.figures(total, characters))

            digests = missing[batch]
            sent = [texts[digest] for digest in digests]
            with self._charging(encoder, sent):
                rows = encoder.encode(sent, on_progress=count)
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
        texts = {chunk.digest: chunk.embedded for chunk in chunks}
        digests = texts.keys() - self._counted
        self._counted |= digests
        known = self._find(sorted(digests), keep=False)
        self.from_cache += len(known)
        self.embedded += len(digests) - len(known)
        if self.settings.price_per_million_usd is not None:
            encoder = self.encoders.open(self.settings)
            missing = [texts[digest] for digest in digests if digest not in known]
            self.charged_tokens += sum(self._tokens(encoder, missing))

    def _say_what_it_costs(self, encoder: TextEncoder, texts: Sequence[str], share: float) -> None:
        price = self.settings.price_per_million_usd
        if price is None:
            return
        tokens = round(sum(self._tokens(encoder, texts)) / max(share, 1e-3))
        self.progress.stage(
            f"embed: {self.settings.model} gets about {counted(tokens, 'token')}, "
            f"{MONEY.show(float(f'{tokens * price / 1e6:.3g}'))} at {MONEY.show(price)} a million"
        )

    @contextmanager
    def _charging(self, encoder: TextEncoder, texts: Sequence[str]) -> Iterator[None]:
        """Reserve the most that these texts can cost, and settle for what was charged."""
        price = self.settings.price_per_million_usd
        if price is None:
            yield
            return
        before = encoder.charged_tokens
        # No text has more tokens than bytes, whatever the tokenizer.
        most = sum(len(self._sent(text).encode("utf-8", "replace")) for text in texts)
        settle = self.encoders.charge(most * price / 1e6)
        try:
            yield
        finally:
            tokens = encoder.charged_tokens - before
            self.charged_tokens += tokens
            settle(tokens * price / 1e6)

    def _tokens(self, encoder: TextEncoder, texts: Sequence[str]) -> list[int]:
        """An estimate of the tokens of these texts as they are sent, each cut at the longest."""
        found = encoder.count_tokens([self._sent(text) for text in texts])
        return [min(tokens, self.settings.max_tokens) for tokens in found]

    def _sent(self, text: str) -> str:
        return self.settings.document_prefix + text

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
