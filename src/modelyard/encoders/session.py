"""ONNX Runtime as this project uses it: on the CPU, on as many cores as this process may use."""

from __future__ import annotations

import os
from typing import Any


def open_session(graph: str | bytes) -> Any:
    """A session of a graph, from its file or its bytes; it raises ONNX Runtime's own errors."""
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
