"""A query and each of its chunks as one row of tokens, as a cross-encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import InvalidInput
from modelyard.encoders.tokens import TokenIds

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query and a chunk in tokens."""

    tokens: TokenIds
    """The ids of both, with the model's marks around them."""
    segments: TokenIds
    """For each of them: which of the two it belongs to, as the model counts."""


class PairCutter:
    """The model's own tokenizer; of a pair that is too long, only the chunk is cut."""

    def __init__(self, folder: Path, *, max_tokens: int, tells_apart: bool) -> None:
        """tells_apart: whether the model is told which tokens are the query's."""
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise InvalidInput(f"is no tokenizer: {error}", where=str(path)) from error
        self._tokenizer.no_padding()
        self._max_tokens, self._tells_apart = max_tokens, tells_apart

    def cut(self, query: str, chunks: Sequence[str]) -> list[Pair]:
        """One pair for each chunk, in the order given."""
        # A lone surrogate cannot be handed to the tokenizer, and raises there.
        query, *chunks = (text.encode("utf-8", "replace").decode() for text in (query, *chunks))
        self._tokenizer.no_truncation()
        asked = len(self._tokenizer.encode(query).ids)
        # A query that leaves the chunk less than half is cut too, or nothing would be left of it.
        strategy = "only_second" if asked <= self._max_tokens // 2 else "longest_first"
        self._tokenizer.enable_truncation(self._max_tokens, strategy=strategy)
        found = self._tokenizer.encode_batch([(query, chunk) for chunk in chunks])
        return [
            Pair(
                tokens=one.ids,
                segments=one.type_ids if self._tells_apart else [0] * len(one.ids),
            )
            for one in found
        ]
