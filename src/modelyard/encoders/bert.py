"""The weights of a plain BERT by role, in numpy.

Its ONNX graph and its torch form are both made of them. Imports neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import read_json_object

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
    positions: Array
    """[positions, width]; the vector of the first segment is added to them."""
    segments: Array
    """[segments, width]: what each adds to the first; a sentence encoder has no second."""
    norm: Norm
    """Over their sum."""
    layers: tuple[BertLayer, ...]
    """From the first to the last."""
    heads: int
    """Attention heads of a layer."""
    epsilon: float
    """What the LayerNorms add to the variance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BertScorer:
    """A BERT encoder with a head that gives one number: `classifier(tanh(pooler(first token)))`."""

    bert: BertWeights
    """The encoder."""
    pooler: Linear
    """[width, width], over the first token."""
    classifier: Linear
    """[1, width]."""


def load_bert(folder: Path) -> BertWeights:
    """The weights of a plain BERT. Raises InvalidInput when one is missing or has another shape."""
    return _Checkpoint(folder).bert()


def load_bert_scorer(folder: Path) -> BertScorer:
    """A plain BERT with its pooler and a classifier of one label. Raises InvalidInput likewise."""
    checkpoint = _Checkpoint(folder)
    bert = checkpoint.bert()
    width = bert.tokens.shape[1]
    return BertScorer(
        bert=bert,
        pooler=checkpoint.linear("pooler.dense", width, width),
        classifier=checkpoint.linear("classifier", 1, width),
    )


class _Checkpoint:
    """A folder's config and tensors; the shape of each tensor is checked."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        self._config_path, self._path = folder / "config.json", folder / "model.safetensors"
        self._config = read_json_object(self._config_path)
        try:
            self._tensors = {
                name.removeprefix("bert."): np.asarray(value)
                for name, value in load_file(self._path).items()
            }
        except Exception as error:  # safetensors raises a class of its own
            raise InvalidInput(f"cannot be read: {error}", where=str(self._path)) from error

    def number(self, name: str) -> int:
        """A whole number of config.json."""
        value = self._config.get(name)
        if not isinstance(value, int):
            raise InvalidInput(f"has no whole number {name}", where=str(self._config_path))
        return value

    def tensor(self, name: str, *shape: int) -> Array:
        """A tensor in fp32."""
        found = self._tensors.get(name)
        if found is None or found.shape != shape:
            shown = "has no" if found is None else f"has another shape of {found.shape} in"
            raise InvalidInput(
                f"{shown} {name}", where=str(self._path), hint="is it this config's file?"
            )
        return found.astype(np.float32)

    def linear(self, name: str, out: int, into: int) -> Linear:
        """A linear layer with its bias."""
        return Linear(
            weight=self.tensor(f"{name}.weight", out, into), bias=self.tensor(f"{name}.bias", out)
        )

    def norm(self, name: str) -> Norm:
        """A LayerNorm over the stream."""
        width = self.number("hidden_size")
        return Norm(
            scale=self.tensor(f"{name}.weight", width), shift=self.tensor(f"{name}.bias", width)
        )

    def bert(self) -> BertWeights:
        """The encoder without any head."""
        width = self.number("hidden_size")
        start = "embeddings"
        count, positions = self.number("type_vocab_size"), self.number("max_position_embeddings")
        segments = self.tensor(f"{start}.token_type_embeddings.weight", count, width)
        return BertWeights(
            tokens=self.tensor(f"{start}.word_embeddings.weight", self.number("vocab_size"), width),
            positions=self.tensor(f"{start}.position_embeddings.weight", positions, width)
            + segments[0],
            segments=segments - segments[0],
            norm=self.norm(f"{start}.LayerNorm"),
            layers=tuple(
                self._layer(f"encoder.layer.{number}")
                for number in range(self.number("num_hidden_layers"))
            ),
            heads=self.number("num_attention_heads"),
            epsilon=float(self._config.get("layer_norm_eps", 1e-12)),
        )

    def _layer(self, start: str) -> BertLayer:
        width, inner = self.number("hidden_size"), self.number("intermediate_size")
        parts = [
            self.linear(f"{start}.attention.self.{part}", width, width)
            for part in ("query", "key", "value")
        ]
        return BertLayer(
            qkv=Linear(
                weight=np.concatenate([part.weight for part in parts]),
                bias=np.concatenate([part.bias for part in parts]),
            ),
            attended=self.linear(f"{start}.attention.output.dense", width, width),
            attended_norm=self.norm(f"{start}.attention.output.LayerNorm"),
            up=self.linear(f"{start}.intermediate.dense", inner, width),
            down=self.linear(f"{start}.output.dense", width, inner),
            down_norm=self.norm(f"{start}.output.LayerNorm"),
        )
