"""The ONNX graphs of a plain BERT, written without torch: a sentence encoder, a cross-encoder.

A graph is for texts of equal length, so it knows no padding and no mask: token ids [texts, length]
in, unit vectors [texts, dimensions] or scores [texts, 1] out. Attention, GELU with its bias, and
residual with LayerNorm are single operators of ONNX Runtime, so nothing is left to fuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard.encoders.model_folder import Pooling

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

    from modelyard.encoders.bert import Array, BertLayer, BertScorer, BertWeights, Linear, Norm

GRAPH_VERSION = 2
"""Increased when another graph is written: graphs in the cache are then rebuilt."""

_FUSED = "com.microsoft"
_OPSET, _FUSED_OPSET, _IR_VERSION = 18, 1, 9


def build_graph(bert: BertWeights, pooling: Pooling) -> ModelProto:
    """The ONNX model: int64 `tokens` [texts, length] to float32 `vectors` [texts, width]."""
    graph = _Graph()
    stream = _add_bert(graph, bert)
    if pooling == "mean":
        pooled = graph.add("ReduceMean", stream, graph.integers([1]), keepdims=0)
    else:
        pooled = graph.add("Gather", stream, graph.integers(0), axis=1)
    norm = graph.add("ReduceL2", pooled, graph.integers([-1]), keepdims=1)
    norm = graph.add("Max", norm, graph.constant(np.array([1e-12], np.float32)))
    graph.add("Div", pooled, norm, output="vectors")
    width = bert.tokens.shape[1]
    return _model(graph, "sentence encoder", ["tokens"], "vectors", ["texts", width])


def build_scoring_graph(scorer: BertScorer) -> ModelProto:
    """The ONNX model of a cross-encoder.

    int64 `tokens` and `segments`, both [pairs, length], to float32 `scores` [pairs, 1].
    """
    graph = _Graph()
    stream = _add_bert(graph, scorer.bert, segments="segments")
    first = graph.add("Gather", stream, graph.integers(0), axis=1)
    pooled = graph.multiply(first, scorer.pooler)
    pooled = graph.add("Tanh", graph.add("Add", pooled, graph.constant(scorer.pooler.bias)))
    score = graph.multiply(pooled, scorer.classifier)
    graph.add("Add", score, graph.constant(scorer.classifier.bias), output="scores")
    return _model(graph, "cross-encoder", ["tokens", "segments"], "scores", ["pairs", 1])


def _model(
    graph: _Graph, title: str, inputs: Sequence[str], output: str, shape: list[str | int]
) -> ModelProto:
    """The nodes as a model; every input is int64 [texts, length], the output float32."""
    from onnx import TensorProto, helper

    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            title,
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, [shape[0], "length"])
                for name in inputs
            ],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            graph.constants,
        ),
        opset_imports=[
            helper.make_opsetid("", _OPSET),
            helper.make_opsetid(_FUSED, _FUSED_OPSET),
        ],
        ir_version=_IR_VERSION,
    )


def _add_bert(graph: _Graph, bert: BertWeights, *, segments: str | None = None) -> str:
    """The token vectors [texts, length, width] of the input `tokens`.

    segments: the input with the segment of each token; without it, all are of the first.
    """
    length = graph.add("Shape", "tokens", start=1, end=2)
    positions = graph.add(
        "Slice", graph.constant(bert.positions), graph.integers([0]), length, graph.integers([0])
    )
    stream = graph.add("Add", graph.add("Gather", graph.constant(bert.tokens), "tokens"), positions)
    if segments is not None:
        added = graph.add("Gather", graph.constant(bert.segments), segments)
        stream = graph.add("Add", stream, added)
    stream = graph.add(
        "LayerNormalization",
        stream,
        graph.constant(bert.norm.scale),
        graph.constant(bert.norm.shift),
        axis=-1,
        epsilon=bert.epsilon,
    )
    for layer in bert.layers:
        stream = _add_layer(graph, stream, layer, bert)
    return stream


def _add_layer(graph: _Graph, stream: str, layer: BertLayer, bert: BertWeights) -> str:
    joined = graph.multiply(stream, layer.qkv)
    joined = graph.add("Add", joined, graph.constant(layer.qkv.bias))
    query, key, value = graph.split(joined, 3)
    heads = graph.add("MultiHeadAttention", query, key, value, domain=_FUSED, num_heads=bert.heads)
    attended = graph.multiply(heads, layer.attended)
    stream = graph.add_and_norm(
        attended, stream, layer.attended.bias, layer.attended_norm, bert.epsilon
    )
    inner = graph.multiply(stream, layer.up)
    inner = graph.add("BiasGelu", inner, graph.constant(layer.up.bias), domain=_FUSED)
    down = graph.multiply(inner, layer.down)
    return graph.add_and_norm(down, stream, layer.down.bias, layer.down_norm, bert.epsilon)


class _Graph:
    """Nodes and constants as they are added; every value gets its own name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def integers(self, value: int | list[int]) -> str:
        """A constant of int64."""
        return self.constant(np.asarray(value, np.int64))

    def add(
        self, kind: str, *inputs: str, domain: str = "", output: str = "", **settings: Any
    ) -> str:
        """Add a node with one output; returns the output's name."""
        from onnx import helper

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **settings))
        return name

    def split(self, joined: str, parts: int) -> list[str]:
        """Cut the last axis into equal parts."""
        from onnx import helper

        names = [f"v{len(self.nodes)}.{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [joined], names, axis=-1, num_outputs=parts))
        return names

    def multiply(self, stream: str, linear: Linear) -> str:
        """The product of a linear layer; the operator that follows adds its bias."""
        return self.add("MatMul", stream, self.constant(linear.weight.T))

    def add_and_norm(
        self, branch: str, stream: str, bias: Array, norm: Norm, epsilon: float
    ) -> str:
        """The LayerNorm of branch + bias + stream."""
        weights = [self.constant(value) for value in (norm.scale, norm.shift, bias)]
        kind = "SkipLayerNormalization"
        return self.add(kind, branch, stream, *weights, domain=_FUSED, epsilon=epsilon)
