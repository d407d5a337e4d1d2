"""The weights of a plain BERT by role, in numpy.

Its ONNX graph and its torch form are both made of them. Imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """`x @ weight.T + bias`, as torch keeps it."""

    weight: Array
    """[out, in]."""
    bias: Array
    """[out]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """One LayerNorm."""

    scale: Array
    """What the normalised values are multiplied by."""
    shift: Array
    """What is added to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BertLayer:
    """One layer of the encoder."""

    qkv: Linear
    """Query, key and value in one product."""
    attended: Linear
    """From the heads back to the stream."""
    attended_norm: Norm
    """After the attention's residual."""
    up: Linear
    """Into the feed-forward block."""
    down: Linear
    """Out of it."""
    down_norm: Norm
    """After its residual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BertWeights:
    """A BERT encoder, in fp32."""

    tokens: Array
    """[vocabulary, width]."""
    places: Array
    """[positions, width]; the vector of the only segment is in them."""
    norm: Norm
    """Over their sum."""
    layers: tuple[BertLayer, ...]
    """From the first to the last."""
    heads: int
    """Attention heads of a layer."""
    epsilon: float
    """What the LayerNorms add to the variance."""


def load_bert(folder: Path) -> BertWeights:
    """The weights of a plain BERT. Raises InvalidInput when one is missing or has another shape."""
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = folder / "model.safetensors"
    try:
        found = {
            name.removeprefix("bert."): np.asarray(value) for name, value in load_file(path).items()
        }
    except Exception as error:  # safetensors raises a class of its own
        raise InvalidInput(f"cannot be read: {error}", where=str(path)) from error

    def take(name: str, *shape: int) -> Array:
        if name not in found or found[name].shape != shape:
            shown = (
                "has no" if name not in found else f"has another shape of {found[name].shape} in"
            )
            raise InvalidInput(f"{shown} {name}", where=str(path), hint="is it this config's file?")
        return found[name].astype(np.float32)

    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])

    def linear(name: str, out: int, into: int) -> Linear:
        return Linear(weight=take(f"{name}.weight", out, into), bias=take(f"{name}.bias", out))

    def norm(name: str) -> Norm:
        return Norm(scale=take(f"{name}.weight", width), shift=take(f"{name}.bias", width))

    def layer(start: str) -> BertLayer:
        parts = [
            linear(f"{start}.attention.self.{part}", width, width)
            for part in ("query", "key", "value")
        ]
        return BertLayer(
            qkv=Linear(
                weight=np.concatenate([part.weight for part in parts]),
                bias=np.concatenate([part.bias for part in parts]),
            ),
            attended=linear(f"{start}.attention.output.dense", width, width),
            attended_norm=norm(f"{start}.attention.output.LayerNorm"),
            up=linear(f"{start}.intermediate.dense", inner, width),
            down=linear(f"{start}.output.dense", width, inner),
            down_norm=norm(f"{start}.output.LayerNorm"),
        )

    segments = take("embeddings.token_type_embeddings.weight", config["type_vocab_size"], width)
    places = take("embeddings.position_embeddings.weight", config["max_position_embeddings"], width)
    return BertWeights(
        tokens=take("embeddings.word_embeddings.weight", config["vocab_size"], width),
        places=places + segments[0],
        norm=norm("embeddings.LayerNorm"),
        layers=tuple(
            layer(f"encoder.layer.{place}") for place in range(config["num_hidden_layers"])
        ),
        heads=int(config["num_attention_heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )
