"""Predicting the peak memory of a run, so that what cannot fit is refused before it starts.

The peak of training or of the evaluation after it, whichever is more, each a sum: what the process
takes before there is a model, the base, the adapter, the tensors that live at the peak of the
largest batch (live_tensors.py, evaluation_tensors.py), and what compiled kernels and the C
library's allocator hold. The constants were measured: docs/performance.md says how, and
how far predictions were off. Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.training.base_shape import BaseShape
from modelyard.training.evaluation_tensors import EngineCounts, EvaluatedRows
from modelyard.training.live_tensors import (
    ROW_ATTENTION_LIMIT,
    BatchShape,
    KernelPath,
    LiveTensors,
    TensorCounts,
)

_PROCESS_BYTES = 545_000_000
"""Python, torch, transformers, trl and their friends."""
_KERNEL_BYTES = 155_000_000
"""Kernels that oneDNN compiled, and what they pack matrices into."""
_ENGINE_KERNEL_BYTES = 175_000_000
"""The same after training and in the evaluation that follows."""
_HELD_OF_WEIGHTS, _HELD_OF_LOGITS = 0.05, 0.25
"""What packing the weights leaves there, and logits of other sizes: shares of both."""
_HELD_OF_ACTIVATIONS, _HELD_OF_ATTENTION, _HELD_OF_RECOMPUTED = 0.40, 0.60, 1
"""Freed memory between tensors that live, which glibc can give to no other: shares of what the
layers keep, of the scores, and of a layer that is computed again, each time in other sizes."""
_HELD_OF_MAPPED = 0.31
"""The same share of what the layers keep where large tensors have memory of their own
(`choices.mapped_block_bytes`)."""
_OPTIMIZER_BYTES = 16  # weight, two AdamW states, and the weight as it began, all fp32


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Predicted peak, part by part, in bytes."""

    process: int
    """Python and the libraries (main memory; not on a GPU)."""
    weights: int
    """The frozen base, in each form in which it is held."""
    adapter: int
    """Adapter weights with gradients and optimizer states, or as the evaluation holds them."""
    activations: int
    """What the layers keep of the largest batch: for its backward pass, or as keys and values."""
    attention: int
    """Attention scores of one layer, where they make the peak."""
    logits: int
    """The block of logits and its gradient, where they make the peak."""
    held: int
    """What compiled kernels and the allocator hold (main memory; not on a GPU)."""

    @property
    def total(self) -> int:
        """The predicted peak in bytes."""
        return sum(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBatches:
    """The batches of a run that may be its largest."""

    trained: Sequence[BatchShape]
    """Batches of training steps."""
    evaluated: Sequence[BatchShape] = ()
    """Batches of the evaluations in between."""
    after: EvaluatedRows | None = None
    """What the evaluation after training computes, if there is one."""


def predict_memory(
    shape: BaseShape,
    lora: LoraSettings,
    batches: RunBatches,
    *,
    precision: str,
    quantize: str,
    checkpointing: bool,
    path: KernelPath,
    attention: str,
    device: str,
) -> MemoryPlan:
    """The peak of a run with these batches, at least one of them trained.

    It is that of training or, where little is trained at once, that of the evaluation after it.
    `attention` is the setting of that name.
    """
    number = 4 if precision == "fp32" else 2
    on_cpu = device == "cpu"

    def counts(batch: BatchShape) -> TensorCounts:
        return TensorCounts(
            shape=shape,
            lora=lora,
            batch=batch,
            number=number,
            path=path,
            row_attention=attention == "rows"
            or (attention == "auto" and on_cpu and batch.longest <= ROW_ATTENTION_LIMIT),
            checkpointing=checkpointing,
        )

    moments: list[LiveTensors] = [counts(batch).at_peak() for batch in batches.trained]
    moments += [counts(batch).without_gradient() for batch in batches.evaluated]
    live = max(moments, key=lambda moment: moment.total)
    training = MemoryPlan(
        process=_PROCESS_BYTES if on_cpu else 0,
        weights=_weight_bytes(shape, lora, precision, quantize, path, on_cpu=on_cpu),
        adapter=shape.adapter_parameters(lora) * _OPTIMIZER_BYTES
        + int(live.gradients)
        + (_cast_adapter_parameters(shape, lora) * number if path == "fast" else 0),
        activations=int(live.activations),
        attention=int(live.attention),
        logits=int(live.logits),
        held=int(
            _KERNEL_BYTES
            + (_HELD_OF_ACTIVATIONS if path == "fast" else _HELD_OF_MAPPED) * live.activations
            + _HELD_OF_ATTENTION * live.attention
            + _HELD_OF_RECOMPUTED * live.recomputed
        )
        if on_cpu
        else 0,
    )
    if batches.after is None or not on_cpu:  # a GPU is given back before, and packs nothing
        return training
    engine = EngineCounts(shape=shape, lora=lora, rows=batches.after, number=number)
    return max(training, _evaluation_plan(engine), key=lambda plan: plan.total)


def _evaluation_plan(engine: EngineCounts) -> MemoryPlan:
    """The peak of the evaluation after training."""
    in_proof = engine.proof > engine.step + engine.logits
    logits = engine.proof if in_proof else engine.logits
    return MemoryPlan(
        process=_PROCESS_BYTES,
        weights=engine.weights,
        adapter=engine.adapter,
        activations=engine.cache + (0 if in_proof else engine.step),
        attention=0,
        logits=logits,
        held=int(
            _ENGINE_KERNEL_BYTES + _HELD_OF_WEIGHTS * engine.weights + _HELD_OF_LOGITS * logits
        ),
    )


def _weight_bytes(
    shape: BaseShape,
    lora: LoraSettings,
    precision: str,
    quantize: str,
    path: KernelPath,
    *,
    on_cpu: bool,
) -> int:
    number = 4.0 if precision == "fp32" else 2.0
    linear_number = {"none": number, "8bit": 1.1, "4bit": 0.58}[quantize]
    weights = shape.linear_parameters * linear_number + shape.embedding_parameters * number
    if on_cpu and path == "fast" and precision == "bf16":
        # The file stays mapped beside the stacked copies of its tensors.
        weights += number * shape.layers * sum(math.prod(each) for each in _stacks(shape, lora))
    return int(weights)


def _stacks(shape: BaseShape, lora: LoraSettings) -> list[tuple[int, int]]:
    """(inputs, outputs) of the projections of a layer that the fast path lays side by side."""
    chosen = shape.adapted_shapes(lora)
    found: list[tuple[int, int]] = []
    for block, side_by_side in (
        (("q_proj", "k_proj", "v_proj", "o_proj"), ("q_proj", "k_proj", "v_proj")),
        (("gate_proj", "up_proj", "down_proj"), ("gate_proj", "up_proj")),
    ):
        if set(block) <= chosen.keys():
            outputs = sum(chosen[name][1] for name in side_by_side)
            found.append((chosen[side_by_side[0]][0], outputs))
    return found


def _cast_adapter_parameters(shape: BaseShape, lora: LoraSettings) -> int:
    """Numbers in the fast path's copies of the adapter, whose stacked B is mostly zeros."""
    chosen = dict(shape.adapted_shapes(lora))
    total = 0
    for side_by_side in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        if set(side_by_side) <= chosen.keys():
            parts = [chosen.pop(name) for name in side_by_side]
            outputs = sum(outputs for _, outputs in parts)
            total += lora.rank * len(parts) * (parts[0][0] + outputs)
    return shape.layers * (total + sum(lora.rank * sum(each) for each in chosen.values()))
