"""Plain BERT on the CPU through ONNX Runtime: neither torch nor transformers is imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors, require_free_space, sweep_staging, write_atomic
from modelyard.core.layout import cache_folder
from modelyard.core.progress import Progress
from modelyard.retrieval.encoding.bert_graph import GRAPH_VERSION, build_graph
from modelyard.retrieval.encoding.encoder import Embedded, Vectors
from modelyard.retrieval.encoding.sentence_model import SentenceModel
from modelyard.retrieval.encoding.sources import locked
from modelyard.retrieval.encoding.tokens import TokenIds, batches_of_equal_length

_TOKENS_AT_ONCE = 2048


class GraphDamaged(ModelyardError):
    """A graph in the cache cannot be loaded."""


def graph_path(model: SentenceModel) -> Path:
    """Where the model's graph lies once it was written."""
    return cache_folder() / "encoders" / "graphs" / f"{model.digest[:32]}-v{GRAPH_VERSION}.onnx"


def require_graph(model: SentenceModel, name: str, *, progress: Progress) -> Path:
    """The model's graph, written into the cache when it is not there yet: about a second."""
    path = graph_path(model)
    if path.is_file():
        return path
    from modelyard.inference.bert import load_bert

    with locked(path.with_suffix(".lock"), f"graph of {name}", progress):
        if not path.is_file():
            sweep_staging(path.parent, path.name)
            size_bytes = (model.folder / "model.safetensors").stat().st_size
            require_free_space(path.parent, size_bytes + (1 << 20), "writing the encoder's graph")
            progress.stage(f"prepare: {name} for ONNX Runtime, once")
            graph = build_graph(load_bert(model.folder), model.pooling)
            with disk_errors(path):
                write_atomic(path, graph.SerializeToString())
    return path


class OnnxModel:
    """A graph in memory: token ids in, unit vectors out."""

    def __init__(self, graph: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.inter_op_num_threads = 1
        # The graph was written in fused operators; looking for more would double the start.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes are its own, one for each status
            raise GraphDamaged(
                f"ONNX Runtime cannot load it: {next(iter(str(error).splitlines()), '')}",
                where=str(graph),
                hint="remove the file and run the same command again; it is written anew",
            ) from error

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


def _threads() -> int:
    """CPU cores this process may use; `OMP_NUM_THREADS` counts here too."""
    allowed = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed
