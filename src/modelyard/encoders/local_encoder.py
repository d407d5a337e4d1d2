"""An encoder on this machine: tokens, one engine for a few texts, and a faster one for many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput
from modelyard.core.progress import Progress
from modelyard.encoders.encoder import Embedded, Vectors
from modelyard.encoders.onnx_encoder import OnnxModel, require_encoder_graph
from modelyard.encoders.sentence_model import SentenceModel
from modelyard.encoders.tokens import TextCutter, TokenIds

LEAST_COSINE = 0.9999
"""Vectors of the fast engine are used when they are at least this close to those in fp32."""

_TOKENS_BEFORE_BULK = 20_000
"""From here on torch's start, some seconds, is earned back."""
_TEXTS_AT_ONCE = 8192
_PROOF_TEXTS = 8


class TokenEncoder(Protocol):
    """Turns token ids into unit vectors."""

    def encode(self, ids: Sequence[TokenIds], *, on_done: Embedded | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""
        ...


class LocalEncoder:
    """A TextEncoder from a model folder.

    Plain BERT runs through ONNX Runtime, other transformers through torch. With `for_bulk`, after
    the first 20,000 tokens the rest goes through torch in bf16 where that is faster here (or on the
    GPU), once its vectors of the texts at hand were compared with those in fp32. Give many texts at
    once: they are sorted by length within a call.
    """

    def __init__(
        self,
        model: SentenceModel,
        settings: Encoder,
        *,
        fingerprint: str,
        for_bulk: bool,
        progress: Progress,
    ) -> None:
        _require_fit(model, settings)
        self.fingerprint = fingerprint
        self.dimensions = model.dimensions
        self._model, self._settings, self._progress = model, settings, progress
        self._query_prefix = settings.query_prefix or model.query_prompt
        self._document_prefix = settings.document_prefix or model.document_prompt
        self._fast: TokenEncoder | None = None
        self._tokens_left = _TOKENS_BEFORE_BULK if for_bulk else None
        self._cutter = TextCutter(model, max_tokens=settings.max_tokens)
        self._graph = (
            require_encoder_graph(model, settings.model, progress=progress)
            if model.is_plain_bert
            else None
        )

    def encode(self, texts: Sequence[str], *, on_progress: Embedded | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""
        found = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            ids = self._cutter.cut([self._document_prefix + text for text in some])
            engine = self._engine_for(ids)
            found[start : start + len(some)] = engine.encode(ids, on_done=on_progress)
        return found

    def encode_query(self, text: str) -> Vectors:
        """A query as float32 [dimensions], of length one."""
        vector: Vectors = self._exact.encode(self._cutter.cut([self._query_prefix + text]))[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How long each text is in the model's tokens, uncut, its marks included."""
        return self._cutter.count(texts)

    @cached_property
    def _exact(self) -> TokenEncoder:
        """The engine in fp32, on the CPU."""
        if self._graph is not None:
            return OnnxModel(self._graph)
        from modelyard.encoders.torch_encoder import open_fp32

        self._progress.warn(
            f"the encoder {self._settings.model} is no plain BERT ({self._model.family}): it runs "
            "through torch, and a search with it starts some seconds later"
        )
        return open_fp32(self._model.folder, pooling=self._model.pooling)

    def _engine_for(self, ids: Sequence[TokenIds]) -> TokenEncoder:
        if self._fast is not None:
            return self._fast
        if self._tokens_left is None:
            return self._exact
        self._tokens_left -= sum(map(len, ids))
        if self._tokens_left > 0:
            return self._exact
        self._tokens_left = None  # it is tried once
        self._fast = self._open_fast(ids)
        return self._fast or self._exact

    def _open_fast(self, ids: Sequence[TokenIds]) -> TokenEncoder | None:
        """The engine for many texts, if this machine has a faster one whose vectors are as good."""
        from modelyard.encoders.torch_encoder import open_fastest

        fast = open_fastest(
            self._model.folder,
            is_plain_bert=self._model.is_plain_bert,
            pooling=self._model.pooling,
            precision=self._settings.precision,
        )
        if fast is None:
            return None
        samples = ids[:: max(1, len(ids) // _PROOF_TEXTS)][:_PROOF_TEXTS]
        cosines = np.sum(self._exact.encode(samples) * fast.encode(samples), axis=1)
        if float(cosines.min()) >= LEAST_COSINE:
            self._progress.stage(f"encode: through torch, {fast.description}")
            return fast
        self._progress.warn(
            f"{fast.description} gives other vectors than fp32 (cosine {cosines.min():.5f}); "
            "going on in fp32"
        )
        return None


def _require_fit(model: SentenceModel, settings: Encoder) -> None:
    """Raise InvalidInput when the settings and the folder do not go together."""
    for name, asked, found in (
        ("dimensions", settings.dimensions, model.dimensions),
        ("max_tokens", settings.max_tokens, min(settings.max_tokens, model.positions)),
    ):
        if asked != found:
            raise InvalidInput(
                f"the encoder {settings.model} has {name} {found}, and the config says {asked}",
                hint=f"write `{name}: {found}` in its config",
            )
    if settings.precision == "int8":
        raise InvalidInput(
            f"the encoder {settings.model} is not run in int8: quantised by the batch, a text's "
            "vector changes with its neighbours, and cosine falls to .98",
            hint="write `precision: auto`",
        )
