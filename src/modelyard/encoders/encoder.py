"""What turns texts into vectors, as the rest of retrieval sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""One unit row for each text, in the order given."""

Embedded = Callable[[int], None]
"""Told, again and again, how many more texts now have a vector."""


class TextEncoder(Protocol):
    """Turns texts into unit vectors: texts that mean the same lie close together."""

    @property
    def fingerprint(self) -> str:
        """What decides the vectors; vectors of different fingerprints are never compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        ...

    def encode(self, texts: Sequence[str], *, on_progress: Embedded | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""
        ...

    def encode_query(self, text: str) -> Vectors:
        """A query as float32 [dimensions], of length one."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How long each text is in the model's tokens, uncut, its two marks included."""
        ...
