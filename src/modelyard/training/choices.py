"""The values of `auto` settings, and the memory that a run with them takes at its peak.

Memory is spared only where the prediction does not fit the machine. Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.training.base_shape import BaseShape
from modelyard.training.batches import (
    EVALUATION_TOKENS,
    Batch,
    count_places,
    plan_steps,
    split_by_tokens,
)
from modelyard.training.evaluation_tensors import count_evaluated
from modelyard.training.live_tensors import BatchShape, KernelPath
from modelyard.training.memory import MemoryPlan, RunBatches, predict_memory
from modelyard.training.schedule import ChosenSchedule
from modelyard.training.spec import FineTuneSpec

if TYPE_CHECKING:
    from modelyard.inference.machine import Machine

_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
_SMALLEST_BATCH_TOKENS = 256
_MEMORY_SHARE = 0.9
_RECOMPUTED_BLOCK_BYTES, _STOCK_BLOCK_BYTES = 2 << 20, 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values of `auto` settings on this machine; a resumed run keeps them."""

    device: str
    """`cuda` or `cpu`."""
    precision: str
    """The number type that it trains in: `bf16` or `fp32`."""
    quantize: str
    """How the base is held: `none`, `4bit` or `8bit`."""
    checkpointing: bool
    """Whether activations are computed again in the backward pass, to save memory."""
    threads: int
    """CPU threads."""
    tokens_per_batch: int
    """The most tokens that are computed at once."""
    schedule: ChosenSchedule | None = None
    """How long and how fast it trains; null in runs that began before 2026-12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """The rows of a run as tokens."""

    train: Sequence[TokenRow]
    """Those it is trained on."""
    evaluation: Sequence[TokenRow]
    """Those whose loss is measured."""
    answered: Sequence[TokenRow]
    """Those of them that say what is right, and so are answered too."""


def make_choices(
    spec: FineTuneSpec,
    schedule: ChosenSchedule,
    machine: Machine,
    shape: BaseShape,
    rows: RunRows,
) -> Choices:
    """Resolve every `auto` by looking at the machine, sparing memory only when there is need."""
    compute = spec.compute
    fixed_tokens = spec.schedule.tokens_per_batch
    tokens = _BATCH_TOKENS[machine.device] if fixed_tokens == "auto" else fixed_tokens
    precision = machine.precision if compute.precision == "auto" else compute.precision
    free = machine.usable_bytes * _MEMORY_SHARE
    quantizes = ["none", "4bit"] if machine.device == "cuda" else ["none"]
    attempts = [
        Choices(
            device=machine.device,
            precision=precision,
            quantize=quantize,
            checkpointing=checkpointing,
            threads=machine.threads if compute.threads == "auto" else compute.threads,
            tokens_per_batch=size,
            schedule=schedule,
        )
        for quantize in (quantizes if compute.quantize == "auto" else [compute.quantize])
        for checkpointing in {"auto": [False, True], "always": [True], "never": [False]}[
            compute.checkpointing
        ]
        for size in (_halvings(tokens) if fixed_tokens == "auto" else [tokens])
    ]
    fitting = (
        attempt
        for attempt in attempts
        if predict_run(spec, schedule, shape, attempt, rows).total <= free
    )
    return next(fitting, attempts[-1])


def _halvings(tokens: int) -> list[int]:
    sizes = [tokens]
    while sizes[-1] > _SMALLEST_BATCH_TOKENS:
        sizes.append(sizes[-1] // 2)
    return sizes


def predict_run(
    spec: FineTuneSpec,
    schedule: ChosenSchedule,
    shape: BaseShape,
    choices: Choices,
    rows: RunRows,
) -> MemoryPlan:
    """The peak memory of a run: training, evaluations between its steps, and the one after it."""
    return predict_memory(
        shape,
        spec.lora,
        RunBatches(
            trained=_trained_batches(spec, schedule, choices, rows.train),
            evaluated=_evaluated_batches(spec, choices, rows.evaluation),
            after=count_evaluated(rows.evaluation, rows.answered) if rows.evaluation else None,
        ),
        precision=choices.precision,
        quantize=choices.quantize,
        checkpointing=choices.checkpointing,
        path=_kernel_path(spec, choices),
        attention=spec.compute.attention,
        device=choices.device,
    )


def _trained_batches(
    spec: FineTuneSpec, schedule: ChosenSchedule, choices: Choices, rows: Sequence[TokenRow]
) -> list[BatchShape]:
    """The largest batches of the first pass, or of the steps that are taken of it."""
    steps = math.ceil(len(rows) / schedule.rows_per_step)
    plan = plan_steps(
        rows,
        replace(spec.schedule, max_steps=min(spec.schedule.max_steps or steps, steps)),
        schedule,
        packing=spec.data.packing,
        tokens_per_batch=choices.tokens_per_batch,
        seed=spec.seed,
    )
    firsts = [step[0] for step in plan.steps]
    later = [batch for step in plan.steps for batch in step[1:]]
    return [
        *_largest(spec, choices, rows, firsts),
        *(replace(batch, first=False) for batch in _largest(spec, choices, rows, later)),
    ]


def _evaluated_batches(
    spec: FineTuneSpec, choices: Choices, rows: Sequence[TokenRow]
) -> list[BatchShape]:
    """The largest batches of an evaluation between steps."""
    if not rows or spec.keep.evaluate_every_steps == "never":
        return []
    lengths = [len(row.input_ids) for row in rows]
    batches = split_by_tokens(range(len(rows)), lengths, EVALUATION_TOKENS)
    return _largest(spec, choices, rows, batches)


def _largest(
    spec: FineTuneSpec, choices: Choices, rows: Sequence[TokenRow], batches: Sequence[Batch]
) -> list[BatchShape]:
    """The batch of most tokens, of most trained ones, and of the widest attention."""
    if not batches:
        return []
    share = _kernel_path(spec, choices) != "stock" and not is_noisy(spec)
    shapes = [
        BatchShape(
            tokens=count_places(chosen, share=share),
            rows=len(chosen),
            longest=max(len(row.input_ids) for row in chosen),
            labels=sum(int(row.trained[1:].sum()) for row in chosen),
        )
        for batch in batches
        for chosen in [[rows[index] for index in batch]]
    ]
    return [
        max(shapes, key=lambda shape: shape.tokens),
        max(shapes, key=lambda shape: shape.labels),
        max(shapes, key=lambda shape: shape.rows * shape.longest**2),
    ]


def is_noisy(spec: FineTuneSpec) -> bool:
    """Whether dropout or NEFTune draw for each token, so that rows may share none."""
    return spec.lora.dropout > 0 or spec.neftune_alpha > 0


def mapped_block_bytes(spec: FineTuneSpec, choices: Choices) -> int | None:
    """Bytes from which on tensors get memory of their own, and are free to the system after a step.

    None where they stay in the heap, which takes less time: on the fast path, whose tensors are
    few. PEFT's layers and layers that are computed again leave holes there, and more with each
    step.
    """
    if choices.device != "cpu":
        return None
    if choices.checkpointing:
        return _RECOMPUTED_BLOCK_BYTES
    return None if _kernel_path(spec, choices) == "fast" else _STOCK_BLOCK_BYTES


def _kernel_path(spec: FineTuneSpec, choices: Choices) -> KernelPath:
    if not spec.compute.fast_path or spec.compute.compile:
        return "stock"
    plain = not spec.lora.dora and not spec.lora.dropout and choices.quantize == "none"
    return "fast" if plain else "mixed"
