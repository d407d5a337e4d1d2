"""An encoder that runs on this machine: one engine for a few texts, and a faster one for many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput
from modelyard.core.progress import Progress
from modelyard.encoders.encoder import OnProgress, Vectors
from modelyard.encoders.model_folder import SentenceModel
from modelyard.encoders.onnx_graphs import open_graph, require_graph
from modelyard.encoders.tokens import (
    TextTokenizer,
    TokenEncoder,
    TokenIds,
    batches_of_equal_length,
    collect_vectors,
)

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_COSINE = 0.9999
"""Vectors of the fast engine are used when they are at least this close to those in fp32."""

_TOKENS_BEFORE_BULK = 20_000
"""From this many tokens on, the seconds that torch takes to start are saved again."""
_TEXTS_AT_ONCE = 8192
_COMPARED_TEXTS = 8
_ONNX_TOKENS_AT_ONCE = 2048


class LocalEncoder:
    """A TextEncoder from a model folder.

    Plain BERT runs through ONNX Runtime, other transformers through torch. With `for_bulk`, after
    the first 20,000 tokens the rest goes through torch in bf16 where that is faster here (or on the
    GPU), after its vectors of some texts were compared with those in fp32. Give many texts at once:
    they are sorted by length within a call.
    """

    charged_tokens = 0
    """Nobody sends a bill for it."""

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
        self._tokenizer = TextTokenizer(model, max_tokens=settings.max_tokens)
        self._graph = _require_graph(model, settings.model, progress)

    def encode(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Vectors:
        """Chunks as float32 [texts, dimensions], unit rows, in the order given."""
        found = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            ids = self._tokenizer.tokenize([self._document_prefix + text for text in some])
            engine = self._engine_for(ids)
            found[start : start + len(some)] = engine.encode(ids, on_done=on_progress)
        return found

    def encode_query(self, text: str, *, within_s: float | None = None) -> Vectors:
        """A query as float32 [dimensions], of length one."""
        ids = self._tokenizer.tokenize([self._query_prefix + text])
        vector: Vectors = self._exact.encode(ids)[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How long each text is in the model's tokens, not truncated, special tokens included."""
        return self._tokenizer.count(texts)

    @cached_property
    def _exact(self) -> TokenEncoder:
        """The engine in fp32, on the CPU."""
        if self._graph is not None:
            return OnnxEncoder(self._graph)
        from modelyard.encoders.torch_engines import AnyTransformer

        self._progress.warn(
            f"the encoder {self._settings.model} is no plain BERT ({self._model.family}): it runs "
            "through torch, and a search with it starts some seconds later"
        )
        return AnyTransformer(self._model.folder, pooling=self._model.pooling)

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
        from modelyard.encoders.torch_engines import open_fastest

        fast = open_fastest(
            self._model.folder,
            is_plain_bert=self._model.is_plain_bert,
            pooling=self._model.pooling,
            precision=self._settings.precision,
        )
        if fast is None:
            return None
        samples = ids[:: max(1, len(ids) // _COMPARED_TEXTS)][:_COMPARED_TEXTS]
        cosines = np.sum(self._exact.encode(samples) * fast.encode(samples), axis=1)
        if float(cosines.min()) >= LEAST_COSINE:
            self._progress.stage(f"encode: through torch, {fast.description}")
            return fast
        self._progress.warn(
            f"{fast.description} gives other vectors than fp32 (cosine {cosines.min():.5f}); "
            "going on in fp32"
        )
        return None


class OnnxEncoder:
    """A plain BERT on the CPU through ONNX Runtime; neither torch nor transformers is imported."""

    def __init__(self, graph: Path | bytes) -> None:
        self._session: Any = open_graph(graph)

    def encode(self, ids: Sequence[TokenIds], *, on_done: OnProgress | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""
        batches = batches_of_equal_length(ids, tokens=_ONNX_TOKENS_AT_ONCE)
        encoded = (
            (places, self._session.run(None, {"tokens": tokens})[0]) for places, tokens in batches
        )
        return collect_vectors(encoded, len(ids), on_done)


def _require_graph(model: SentenceModel, name: str, progress: Progress) -> Path | bytes | None:
    """The model's graph, as `require_graph` gives it; None for no plain BERT."""
    if not model.is_plain_bert:
        return None

    def build() -> ModelProto:
        from modelyard.encoders.bert import load_bert
        from modelyard.encoders.bert_graph import build_graph

        return build_graph(load_bert(model.folder), model.pooling)

    return require_graph(model.digest, model.folder, build, name=name, progress=progress)


def _require_fit(model: SentenceModel, settings: Encoder) -> None:
    """Raise InvalidInput when the settings do not fit the folder."""
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
