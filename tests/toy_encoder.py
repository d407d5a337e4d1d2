"""An encoder without a model, for tests: texts that share words come out close."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds.embedding_models import Encoder

_WORD = re.compile(r"\w+")


class ToyEncoder:
    """Adds up one fixed direction per word; deterministic, and it keeps count of what it did."""

    def __init__(self, *, name: str = "toy", dimensions: int = 64) -> None:
        self.fingerprint = f"{name}-{dimensions}"
        self.dimensions = dimensions
        self.encoded: list[str] = []
        """Every text that `encode` was given, in order: what was embedded, and how often."""

    def encode(
        self, texts: Sequence[str], *, on_progress: Callable[[int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        self.encoded.extend(texts)
        vectors = np.stack([self._vector(text) for text in texts]) if texts else self._nothing()
        if on_progress is not None and texts:
            on_progress(len(texts))
        return vectors

    def encode_query(self, text: str, *, within_s: float | None = None) -> npt.NDArray[np.float32]:
        return self._vector(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_WORD.findall(text)) + 2 for text in texts]

    def _nothing(self) -> npt.NDArray[np.float32]:
        return np.zeros((0, self.dimensions), np.float32)

    def _vector(self, text: str) -> npt.NDArray[np.float32]:
        words = _WORD.findall(text.lower()) or [""]
        total = np.sum([self._direction(word) for word in words], axis=0, dtype=np.float32)
        unit: npt.NDArray[np.float32] = total / np.linalg.norm(total)
        return unit

    def _direction(self, word: str) -> npt.NDArray[np.float32]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
        drawn = np.random.default_rng(seed).standard_normal(self.dimensions)
        return drawn.astype(np.float32)


@dataclass
class ToyEncoders:
    """Hands out one toy encoder, and counts how often it was opened."""

    encoder: ToyEncoder = field(default_factory=ToyEncoder)
    opened: int = 0
    here: bool = True

    def fingerprint(self, settings: Encoder) -> str:
        return self.encoder.fingerprint

    def known_fingerprint(self, settings: Encoder) -> str:
        return self.encoder.fingerprint

    def is_local(self, settings: Encoder) -> bool:
        return self.here

    def open(self, settings: Encoder, *, texts: int = 0) -> ToyEncoder:
        self.opened += 1
        return self.encoder
