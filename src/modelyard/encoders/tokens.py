"""Texts as token ids, and batches of them that need no padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelyard.encoders.sentence_model import SentenceModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds = Sequence[int]


class TextCutter:
    """The model's own tokenizer; a tokenizer.json's own limit and padding do not count."""

    def __init__(self, model: SentenceModel, *, max_tokens: int) -> None:
        self._model = model
        self._cutting = self._load()
        self._cutting.enable_truncation(max_tokens)

    def cut(self, texts: Sequence[str]) -> list[TokenIds]:
        """The ids of each text, its marks included, cut at the longest text allowed."""
        # A tokenizer without marks gives an empty text no token, and nothing has no mean.
        return [found.ids or [0] for found in self._cutting.encode_batch_fast(self._as_seen(texts))]

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, uncut."""
        return [len(found.ids) for found in self._whole.encode_batch_fast(self._as_seen(texts))]

    @cached_property
    def _whole(self) -> Tokenizer:
        tokenizer = self._load()
        tokenizer.no_truncation()
        return tokenizer

    def _load(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._model.folder / "tokenizer.json"))
        tokenizer.no_padding()
        return tokenizer

    def _as_seen(self, texts: Sequence[str]) -> list[str]:
        # A lone surrogate cannot be handed to the tokenizer, and raises there.
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        return [text.lower() for text in whole] if self._model.lower_case else whole


def batches_of_equal_length(
    ids: Sequence[TokenIds], *, tokens: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(places, ids [texts, length]) of at most `tokens` each, the longest texts first.

    Without padding there is nothing to mask, and a text's vector hardly depends on its neighbours.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        length = int(lengths[order[start]])
        places = order[start : start + max(1, tokens // max(1, length))]
        places = places[lengths[places] == length]
        start += len(places)
        yield places, np.asarray([ids[place] for place in places], np.int64)
