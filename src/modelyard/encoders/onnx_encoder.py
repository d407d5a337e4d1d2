"""Plain BERT on the CPU through ONNX Runtime: neither torch nor transformers is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.progress import Progress
from modelyard.encoders.bert_graph import build_graph
from modelyard.encoders.encoder import Embedded, Vectors
from modelyard.encoders.graphs import cached_graph, open_graph, require_graph
from modelyard.encoders.sentence_model import SentenceModel
from modelyard.encoders.tokens import TokenIds, batches_of_equal_length

if TYPE_CHECKING:
    from onnx import ModelProto

_TOKENS_AT_ONCE = 2048


def graph_path(model: SentenceModel) -> Path:
    """Where the model's graph lies once it was written."""
    return cached_graph(model.digest)


def require_encoder_graph(model: SentenceModel, name: str, *, progress: Progress) -> Path:
    """The model's graph, written into the cache when it is not there yet."""

    def build() -> ModelProto:
        from modelyard.encoders.bert import load_bert

        return build_graph(load_bert(model.folder), model.pooling)

    return require_graph(model.digest, model.folder, build, name=name, progress=progress)


class OnnxModel:
    """A graph in memory: token ids in, unit vectors out."""

    def __init__(self, graph: Path) -> None:
        self._session: Any = open_graph(graph)

    def encode(self, ids: Sequence[TokenIds], *, on_done: Embedded | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""
        found: Vectors | None = None
        for places, tokens in batches_of_equal_length(ids, tokens=_TOKENS_AT_ONCE):
            vectors: Vectors = self._session.run(None, {"tokens": tokens})[0]
            if found is None:
                found = np.empty((len(ids), vectors.shape[1]), np.float32)
            found[places] = vectors
            if on_done is not None:
                on_done(len(places))
        return found if found is not None else np.empty((0, 0), np.float32)
