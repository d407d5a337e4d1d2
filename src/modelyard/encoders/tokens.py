"""Texts as token ids, and batches of them that need no padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput
from modelyard.encoders.encoder import OnProgress, Vectors
from modelyard.encoders.model_folder import ModelFolder, SentenceModel, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds = Sequence[int]
Ids = npt.NDArray[np.int64]
Batch = tuple[Ids, Ids]
"""The places of texts of one length, [texts], and their ids [texts, length]."""
EncodedBatch = tuple[Ids, Vectors]
"""The places of texts, and their vectors."""


class TokenEncoder(Protocol):
    """Turns token ids into unit vectors."""

    def encode(self, ids: Sequence[TokenIds], *, on_done: OnProgress | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""


class TextTokenizer:
    """The model's own tokenizer; limit and padding that tokenizer.json asks for are not used."""

    def __init__(self, model: SentenceModel, *, max_tokens: int) -> None:
        self._model = model
        self._truncating = _load_tokenizer(model.folder)
        self._truncating.enable_truncation(max_tokens)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """The ids of each text, special tokens included, truncated at `max_tokens`."""
        found = self._truncating.encode_batch_fast(self._normalize(texts))
        # A tokenizer without special tokens gives an empty text no token, and nothing has no mean.
        return [text.ids or [0] for text in found]

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, not truncated."""
        return [len(text.ids) for text in self._whole.encode_batch_fast(self._normalize(texts))]

    @cached_property
    def _whole(self) -> Tokenizer:
        tokenizer = _load_tokenizer(self._model.folder)
        tokenizer.no_truncation()
        return tokenizer

    def _normalize(self, texts: Sequence[str]) -> list[str]:
        valid = _replace_surrogates(texts)
        return [text.lower() for text in valid] if self._model.lower_case else valid


class PairTokenizer:
    """The tokenizer of a cross-encoder; of a pair that is too long, only the chunk is truncated."""

    def __init__(self, model: ModelFolder) -> None:
        settings = read_json(model.folder / "tokenizer_config.json")
        if not isinstance(settings, dict):
            settings = {}
        self._tokenizer = _load_tokenizer(model.folder)
        # What the tokenizer says, as far as the model has positions for it.
        longest = settings.get("model_max_length") or model.positions
        self._max_tokens = min(int(longest), model.positions)
        inputs = settings.get("model_input_names")
        self._has_segments = inputs is None or "token_type_ids" in inputs

    def tokenize(self, query: str, chunks: Sequence[str]) -> tuple[list[TokenIds], list[TokenIds]]:
        """The ids of the query with each chunk, special tokens included, and their segments.

        A segment says for each id whether it belongs to the query or to the chunk.
        """
        query, *chunks = _replace_surrogates([query, *chunks])
        self._tokenizer.no_truncation()
        query_tokens = len(self._tokenizer.encode(query).ids)
        # A query that leaves the chunk less than half is truncated too, so that some chunk is left.
        strategy = "only_second" if query_tokens <= self._max_tokens // 2 else "longest_first"
        self._tokenizer.enable_truncation(self._max_tokens, strategy=strategy)
        pairs = self._tokenizer.encode_batch([(query, chunk) for chunk in chunks])
        ids: list[TokenIds] = [pair.ids for pair in pairs]
        segments: list[TokenIds] = [
            pair.type_ids if self._has_segments else [0] * len(pair.ids) for pair in pairs
        ]
        return ids, segments


def _load_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise InvalidInput(f"is no tokenizer: {error}", where=str(path)) from error
    tokenizer.no_padding()
    return tokenizer


def _replace_surrogates(texts: Iterable[str]) -> list[str]:
    """The texts without lone surrogates, for which the tokenizer raises an error."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def batches_of_equal_length(ids: Sequence[TokenIds], *, tokens: int) -> Iterator[Batch]:
    """Batches of at most `tokens` each, the longest texts first.

    Without padding no mask is needed, and a text's vector hardly depends on its neighbours.
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


def collect_vectors(
    encoded: Iterable[EncodedBatch], texts: int, on_done: OnProgress | None
) -> Vectors:
    """The vectors [texts, width] of all batches, each at its place."""
    found = np.empty((texts, 0), np.float32)
    for places, vectors in encoded:
        if not found.size:
            found = np.empty((texts, vectors.shape[1]), np.float32)
        found[places] = vectors
        if on_done is not None:
            on_done(len(places))
    return found
