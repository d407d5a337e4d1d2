"""How much memory a run takes at its peak, predicted from the base's config alone.

The peak is a sum: the Python process with its libraries, the frozen weights, the adapter with its
gradients and AdamW states, what the layers keep for the backward pass of one batch, and the block
of logits. What a layer keeps is counted from the kernels in `kernels.py` tensor by tensor; the
stock path keeps more. Measured against real peaks in docs/performance.md. Does not import torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidInput
from modelyard.training.spec import LoraSettings

LOGITS_PER_BLOCK = 8_000_000
"""Logits that exist at a time; a vocabulary of 50,000 gives blocks of 160 labels."""

_PROCESS_BYTES = 780_000_000
_LOGIT_BYTES = 14
_OPTIMIZER_BYTES = 16  # weight, gradient and two AdamW states, all fp32
_LORA_GROUPS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
    """What a base's config.json says about its size."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear module of a layer."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of all linear modules inside the layers."""
        return self.layers * sum(a * b for a, b in self.linear_shapes.values())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding and, if it is not the same matrix, the output layer."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


def load_base_shape(folder: Path) -> BaseShape:
    """Read the shape from config.json. Raises InvalidInput when a figure is missing."""
    path = folder / "config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    config = config.get("text_config", config)
    try:
        heads = config["num_attention_heads"]
        return BaseShape(
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            key_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise InvalidInput(
            f"does not say {error}, so this is no decoder that can be trained here",
            where=str(path),
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Predicted peak, part by part, in bytes."""

    process: int
    """Python and the libraries (main memory; not on a GPU)."""
    weights: int
    """The frozen base."""
    adapter: int
    """Adapter weights, gradients and optimizer states."""
    activations: int
    """What the layers keep for the backward pass of the largest batch."""
    logits: int
    """The block of logits and its gradient."""

    @property
    def total(self) -> int:
        """The predicted peak in bytes."""
        return sum(getattr(self, part.name) for part in fields(self))


def adapter_parameters(shape: BaseShape, lora: LoraSettings) -> int:
    """How many weights the adapter learns."""
    chosen = shape.linear_shapes
    if lora.targets != ("all-linear",):
        chosen = {name: one for name, one in chosen.items() if name in lora.targets}
    return shape.layers * sum(
        lora.rank * (inputs + outputs) + (outputs if lora.dora else 0)
        for inputs, outputs in chosen.values()
    )


def predict_memory(
    shape: BaseShape,
    lora: LoraSettings,
    *,
    batch_tokens: int,
    precision: str,
    quantize: str,
    checkpointing: bool,
    fast: bool,
    device: str,
    label_share: float,
) -> MemoryPlan:
    """The peak of a run whose largest batch has `batch_tokens`, `label_share` of them learned."""
    number = 4 if precision == "fp32" else 2
    linear_number = {"none": float(number), "8bit": 1.1, "4bit": 0.58}[quantize]
    weights = shape.linear_parameters * linear_number + shape.embedding_parameters * number
    kept = _kept_per_token(shape, lora, number, fast=fast)
    per_token = kept * shape.layers
    if checkpointing:
        per_token = shape.hidden * number * shape.layers + 2 * kept
    # The widest tensors of a backward pass: a few of the MLP's, in fp32 for a moment.
    per_token += 6 * shape.intermediate * number
    labels = max(1, int(batch_tokens * label_share))
    block = min(labels, LOGITS_PER_BLOCK // shape.vocabulary) if fast else batch_tokens
    return MemoryPlan(
        process=_PROCESS_BYTES if device == "cpu" else 0,
        weights=int(weights),
        adapter=adapter_parameters(shape, lora) * _OPTIMIZER_BYTES,
        activations=int(batch_tokens * per_token),
        logits=block * shape.vocabulary * _LOGIT_BYTES,
    )


def _kept_per_token(shape: BaseShape, lora: LoraSettings, number: int, *, fast: bool) -> int:
    """Bytes that one layer keeps of one token until the backward pass reaches it."""
    hidden, wide = shape.hidden, shape.intermediate
    queries = shape.heads * shape.head_width
    keys = 2 * shape.key_heads * shape.head_width
    attention = 2 * queries + keys
    if fast:
        # two norms' inputs and outputs, q k v and what attention gives, gate, up and their product
        values = 4 * hidden + attention + 3 * wide + _LORA_GROUPS * lora.rank
        return values * number
    # Each adapted module of the stock path keeps its input in fp32 (PEFT casts it), and once more
    # for dropout with its mask; norms keep fp32 copies.
    inputs = 5 * hidden + queries + wide
    values = 6 * hidden + 2 * attention + 5 * wide + _LORA_GROUPS * lora.rank
    return values * number + inputs * (9 if lora.dropout else 4) + 4 * hidden * 4
