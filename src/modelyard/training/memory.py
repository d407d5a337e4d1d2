"""How much memory a run takes at its peak, predicted from the base's config alone.

The peak is a sum: the Python process with its libraries, the frozen weights, the adapter with its
gradients and AdamW states, what the layers keep for the backward pass of one batch, and the block
of logits. What a layer keeps is counted from the kernels in `kernels.py` tensor by tensor; the
stock path keeps more. Measured against real peaks in docs/performance.md. Does not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import read_json_object

LOGITS_PER_BLOCK = 8_000_000
"""Logits that exist at a time; a vocabulary of 50,000 gives blocks of 160 labels."""

_PROCESS_BYTES = 520_000_000  # Python, torch, transformers, trl and their friends: measured
_KERNEL_BYTES = 235_000_000  # what the CPU's matrix products pack and keep as scratch: measured
_LOGIT_BYTES = 14  # bf16, fp32, its exponential and the bf16 gradient, and what is between
_STOCK_LOGIT_BYTES = 4  # of every token: bf16 logits and their gradient
_OPTIMIZER_BYTES = 16  # weight, gradient and two AdamW states, all fp32
_LORA_GROUPS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
    """The sizes in a base's config.json."""

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
    config = read_json_object(path)
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
    """How many weights the adapter has."""
    chosen = shape.linear_shapes
    if lora.targets != ("all-linear",):
        chosen = {name: choice for name, choice in chosen.items() if name in lora.targets}
    return shape.layers * sum(
        lora.rank * (inputs + outputs) + (outputs if lora.dora else 0)
        for inputs, outputs in chosen.values()
    )


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The size of a packed batch."""

    tokens: int
    """Places that are computed, shared ones once."""
    rows: int
    """Rows in it."""
    longest: int
    """Tokens of its longest row."""


KernelPath = Literal["fast", "mixed", "stock"]
"""Which kernels run: all of ours; ours but for the LoRA layers (dropout, DoRA); none."""


def predict_memory(
    shape: BaseShape,
    lora: LoraSettings,
    batch: BatchShape,
    *,
    precision: str,
    quantize: str,
    checkpointing: bool,
    path: KernelPath,
    device: str,
    label_share: float,
) -> MemoryPlan:
    """The peak of a run whose largest batch is `batch`, `label_share` of its tokens trained."""
    number = 4 if precision == "fp32" else 2
    linear_number = {"none": float(number), "8bit": 1.1, "4bit": 0.58}[quantize]
    weights = shape.linear_parameters * linear_number + shape.embedding_parameters * number
    if device == "cpu":
        # The file stays mapped beside the stacked or widened copies of its tensors.
        copied = shape.linear_parameters if precision == "fp32" else 0
        weights += 2 * (copied or (_stacked_parameters(shape, lora) if path == "fast" else 0))
    kept = _kept_by_layer(shape, lora, batch, number, path)
    layers: float = kept * shape.layers
    if checkpointing:
        layers = batch.tokens * shape.hidden * number * shape.layers + 2 * kept
    labels = max(1, int(batch.tokens * label_share))
    logits = min(labels, LOGITS_PER_BLOCK // shape.vocabulary) * shape.vocabulary * _LOGIT_BYTES
    if path == "stock":
        every = batch.tokens * _STOCK_LOGIT_BYTES + labels * _LOGIT_BYTES
        logits = every * shape.vocabulary
    return MemoryPlan(
        process=_PROCESS_BYTES + _KERNEL_BYTES if device == "cpu" else 0,
        weights=int(weights),
        adapter=adapter_parameters(shape, lora) * (_OPTIMIZER_BYTES + 2 * number),
        activations=int(layers),
        logits=logits,
    )


def _stacked_parameters(shape: BaseShape, lora: LoraSettings) -> int:
    """Parameters of the projections that the fast path lays side by side (see fast_modules.py)."""
    chosen = set(shape.linear_shapes)
    if lora.targets != ("all-linear",):
        chosen &= set(lora.targets)
    stacked: list[str] = []
    if {"q_proj", "k_proj", "v_proj", "o_proj"} <= chosen:
        stacked += ["q_proj", "k_proj", "v_proj"]
    if {"gate_proj", "up_proj", "down_proj"} <= chosen:
        stacked += ["gate_proj", "up_proj"]
    return shape.layers * sum(math.prod(shape.linear_shapes[name]) for name in stacked)


def _kept_by_layer(
    shape: BaseShape, lora: LoraSettings, batch: BatchShape, number: int, path: KernelPath
) -> int:
    """Bytes that one layer keeps of a batch until the backward pass reaches it."""
    hidden, wide = shape.hidden, shape.intermediate
    queries, keys = shape.heads * shape.head_width, 2 * shape.key_heads * shape.head_width
    if path == "stock":
        attention = batch.tokens * (3 * queries + 2 * keys) * number
    else:
        # q, k and v of the padded block, and the probabilities of short rows
        attention = batch.rows * batch.longest * (queries + keys) * number
        if batch.longest <= 4 * shape.head_width:
            attention += batch.rows * shape.heads * batch.longest**2 * number
    if path == "fast":
        # inputs of two norms and of all projections, gate and up, what A gives
        values = 4 * hidden + queries + 3 * wide + _LORA_GROUPS * lora.rank
        return batch.tokens * values * number + attention
    # Each adapted module of PEFT keeps its input in fp32, and once more for dropout with its mask.
    inputs = 5 * hidden + queries + wide
    values = 6 * hidden + queries + 5 * wide + _LORA_GROUPS * lora.rank
    adapted = inputs * (9 if lora.dropout else 4)
    return batch.tokens * (values * number + adapted + 4 * hidden * 4) + attention
