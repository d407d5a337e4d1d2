"""ONNX graphs in the cache: written once for each model, read by every process after that."""

from __future__ import annotations

import math
from collections.abc import Callable
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
from modelyard.encoders.session import open_session

if TYPE_CHECKING:
    from onnx import ModelProto

_LARGE_BYTES = 1_024
"""Constants from this size on lie outside the graph's file."""
_PAGE_BYTES = 4_096
"""What a mapped file is counted in."""


class GraphDamaged(ModelyardError):
    """A graph in the cache cannot be loaded."""


def cached_graph(digest: str) -> Path:
    """Where the graph of the model with this digest lies once it was written."""
    return cache_folder() / "encoders" / "graphs" / f"{digest[:32]}-v{GRAPH_VERSION}.onnx"


def require_graph(
    digest: str, folder: Path, build: Callable[[], ModelProto], *, name: str, progress: Progress
) -> Path:
    """The graph of a folder's model, built and written when it is not there: about a second."""
    path = cached_graph(digest)
    if path.is_file():
        return path
    lock, what = path.with_suffix(".lock"), f"graph of {name}"
    with exclusive_lock(lock, what=what, wait_s=math.inf, progress=progress):
        if not path.is_file():
            for suffix in (".weights", path.suffix):
                sweep_staging(path.parent, path.with_suffix(suffix).name)
            size_bytes = (folder / "model.safetensors").stat().st_size
            require_free_space(path.parent, size_bytes + (1 << 20), "writing the model's graph")
            progress.stage(f"prepare: {name} for ONNX Runtime, once")
            _write_graph(path, build())
    return path


def _write_graph(path: Path, graph: ModelProto) -> None:
    weights = path.with_suffix(".weights")
    with disk_errors(path):
        write_atomic(weights, move_weights_out(graph, weights.name))
        write_atomic(path, graph.SerializeToString())  # last: with it the graph is there


def move_weights_out(graph: ModelProto, location: str) -> bytes:
    """Take the large constants out of a graph; what its file `location` is to hold.

    ONNX Runtime maps that file, where it would parse and copy the weights inside a graph: 50 ms
    instead of 200 to open a small encoder. Source: ONNX's external data, https://onnx.ai.
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


def open_graph(path: Path) -> Any:
    """An ONNX Runtime session of a graph. Raises GraphDamaged when the file is none."""
    try:
        return open_session(str(path))
    except Exception as error:  # its classes are its own, one for each status
        raise GraphDamaged(
            f"ONNX Runtime cannot load it: {next(iter(str(error).splitlines()), '')}",
            where=str(path),
            hint="remove the file and run the same command again; it is written anew",
        ) from error
