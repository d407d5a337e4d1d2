"""ONNX Runtime, and the graphs in the cache: written once for each model, then read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import ModelyardError
from modelyard.core.files import (
    disk_errors,
    exclusive_lock,
    require_free_space,
    sweep_staging,
    write_atomic,
)
from modelyard.core.layout import cache_folder
from modelyard.core.progress import Progress
from modelyard.encoders.bert_graph import GRAPH_VERSION

if TYPE_CHECKING:
    from onnx import ModelProto

_LARGE_BYTES = 1_024
"""Constants from this size on are stored outside the graph's file."""
_PAGE_BYTES = 4_096
"""Mapped files start at multiples of this."""


class GraphDamaged(ModelyardError):
    """A graph in the cache cannot be loaded."""


def graph_path(digest: str) -> Path:
    """The file of the graph of the model with this digest."""
    return cache_folder() / "encoders" / "graphs" / f"{digest[:32]}-v{GRAPH_VERSION}.onnx"


def require_graph(
    digest: str, folder: Path, build: Callable[[], ModelProto], *, name: str, progress: Progress
) -> Path | bytes:
    """The file of a model's graph, written first when it is missing, in about a second.

    Where the cache cannot be written, the graph itself.
    """
    path = graph_path(digest)
    if path.is_file():
        return path
    with ExitStack() as locks:
        try:
            lock, what = path.with_suffix(".lock"), f"graph of {name}"
            locks.enter_context(exclusive_lock(lock, what=what, wait_s=math.inf, progress=progress))
            if path.is_file():  # another process was first
                return path
            for file in _files(path):
                sweep_staging(path.parent, file.name)
            size_bytes = (folder / "model.safetensors").stat().st_size
            require_free_space(path.parent, size_bytes + (1 << 20), "writing the model's graph")
        except (OSError, ModelyardError) as error:
            return _unkept(build(), name, error, progress)
        progress.stage(f"prepare: {name} for ONNX Runtime, once")
        graph = build()
        try:
            _write_graph(graph, path)
        except (OSError, ModelyardError) as error:
            return _unkept(build(), name, error, progress)  # the first has lost its weights
    return path


def _unkept(graph: ModelProto, name: str, why: Exception, progress: Progress) -> bytes:
    progress.warn(f"{name} is prepared for this command only: {why}")
    return bytes(graph.SerializeToString())


def _files(path: Path) -> tuple[Path, Path]:
    """The file of the large constants of a graph, and its own."""
    return path.with_suffix(".weights"), path


def _write_graph(graph: ModelProto, path: Path) -> None:
    weights, _ = _files(path)
    with disk_errors(path):
        write_atomic(weights, _take_weights(graph, weights.name))
        write_atomic(path, graph.SerializeToString())  # last: it says that both are there


def _take_weights(graph: ModelProto, location: str) -> bytes:
    """Remove the large constants from a graph, and return the content of the file for them.

    location: that file's name. ONNX Runtime maps it, where it would parse and copy the weights
    inside a graph: 50 ms instead of 200 to open a small encoder.
    Source: ONNX's external data, https://onnx.ai.
    """
    from onnx.external_data_helper import set_external_data

    weights = bytearray()
    for tensor in graph.graph.initializer:
        if len(tensor.raw_data) < _LARGE_BYTES:
            continue
        weights += bytes(-len(weights) % _PAGE_BYTES)
        set_external_data(tensor, location, offset=len(weights), length=len(tensor.raw_data))
        weights += tensor.raw_data
        tensor.ClearField("raw_data")
    return bytes(weights)


def open_graph(graph: Path | bytes) -> Any:
    """An ONNX Runtime session of a graph. Raises GraphDamaged when its file cannot be loaded."""
    if isinstance(graph, bytes):
        return open_session(graph)
    try:
        return open_session(str(graph))
    except Exception as error:  # its classes are its own, one for each status
        raise GraphDamaged(
            f"ONNX Runtime cannot load it: {next(iter(str(error).splitlines()), '')}",
            where=str(graph),
            hint="remove the file and run the same command again; it is written again",
        ) from error


def open_session(graph: str | bytes) -> Any:
    """An ONNX Runtime session of a graph, from its file or its bytes, on the CPU.

    Uses as many cores as this process may use. Raises ONNX Runtime's own errors.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.inter_op_num_threads = 1
    # Our graphs are written in fused operators; looking for more would double the start.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Threads that spin for their next piece take the cores from whatever runs between two calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _threads() -> int:
    """CPU cores this process may use; `OMP_NUM_THREADS` counts here too."""
    allowed = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed
