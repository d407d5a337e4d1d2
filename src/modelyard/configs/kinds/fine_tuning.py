"""How an adapter is trained: the settings of `models fine-tune --config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelyard.settings.marks import Range, Reference

LONGEST_ROW = 1_000_000
"""The largest `data.max_length`, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Which low-rank change is trained. Source: Hu et al. 2021, arXiv:2106.09685."""

    rank: Annotated[int, Range(1, 1024)] = 16
    """Rank of the change: higher holds more, costs more memory."""
    alpha: Annotated[float, Range(0.001, 4096)] = 32.0
    """Scale of the change; the weight delta is alpha / rank * B A."""
    dropout: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of a LoRA input that is dropped while training."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get an adapter: `all-linear`, or names such as q_proj, v_proj."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Also train the magnitude of each weight column (Liu et al. 2024, arXiv:2402.09353)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How rows become tokens."""

    max_length: Annotated[int, Range(8, LONGEST_ROW)] = 1024
    """Longest row in tokens; a longer one is cut, or refused when its answer would be lost."""
    allow_control_tokens: bool = False
    """Train on rows whose own text holds control tokens of the base, such as `<|im_end|>`."""
    packing: bool = True
    """Lay rows end to end without padding; no row attends to another. Off: one row at a time."""
    replay_share: Annotated[float, Range(0, 0.9)] = 0.0
    """With a parent: the share of training rows that is drawn from the parent's dataset."""


MOST_STEPS = 1_000_000
"""Optimizer steps of a run: more are a mistake, and their plan would not fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """How long and how fast to train."""

    epochs: Annotated[float, Range(0.01, 1000)] | Literal["auto"] = "auto"
    """Passes over the training rows; `auto`: 2, and up to 10 of few rows."""
    max_steps: Annotated[int, Range(1, MOST_STEPS)] | None = None
    """Stop after this many optimizer steps, whatever `epochs` says."""
    rows_per_step: Annotated[int, Range(1, 65536)] | Literal["auto"] = "auto"
    """Training rows in each optimizer step; `auto`: 8, more where that were over 5,000 steps."""
    tokens_per_batch: Annotated[int, Range(16)] | Literal["auto"] = "auto"
    """Tokens in memory at a time; a step is split into as many batches as it needs."""
    learning_rate: Annotated[float, Range(1e-8, 1)] | Literal["auto"] = "auto"
    """Peak learning rate; `auto`: by the base's width and `lora.alpha`, from 5e-3 downwards."""
    shape: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_share: Annotated[float, Range(0, 0.9)] = 0.05
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Range(0, 1)] = 0.0
    """AdamW weight decay of the adapter's weights."""
    max_grad_norm: Annotated[float, Range(0.0001)] = 1.0
    """Gradients are scaled down to this norm."""
    shuffle: bool = True
    """Take the rows in a new order each epoch (from the seed); off: in the file's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """How it is computed; `auto` depends on the machine."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the base weights; `auto` takes the one that is measured to be faster."""
    quantize: Literal["auto", "none", "4bit", "8bit"] = "auto"
    """Base weights in 4 or 8 bits (CUDA only); `auto`: 4bit if the base does not fit otherwise."""
    checkpointing: Literal["auto", "always", "never"] = "auto"
    """Recompute activations to save memory; `auto` only when they would not fit."""
    threads: Annotated[int, Range(1, 1024)] | Literal["auto"] = "auto"
    """CPU threads; `auto` takes the cores this process may use."""
    attention: Literal["auto", "rows", "sdpa"] = "auto"
    """Kernel of the fast path: `rows`, batched products for short rows, or torch's own `sdpa`."""
    fast_path: bool = True
    """Use this project's own kernels where they prove equal to the stock ones."""
    compile: bool = False
    """Compile the stock model with torch.compile instead of using this project's kernels."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """AdamW in fp32, or with 8-bit states from bitsandbytes (CUDA only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSettings:
    """What is saved, evaluated and logged during training."""

    checkpoint_every_steps: Annotated[int, Range(1)] | Literal["auto"] = "auto"
    """Steps between checkpoints; `auto`: ten in a run, at least one every 50 steps."""
    checkpoints_kept: Annotated[int, Range(1, 100)] = 2
    """Checkpoints that stay on the disk."""
    evaluate_every_steps: Annotated[int, Range(1)] | Literal["auto", "never"] = "auto"
    """Steps between evaluations on the eval split; `auto`: four in a run."""
    stop_after_worse: Annotated[int, Range(0, 100)] = 0
    """Stop early after this many evaluations in a row without a better eval loss; 0: never."""
    log_every_steps: Annotated[int, Range(1)] = 1
    """Steps between rows of metrics.jsonl."""
    tensorboard: bool = False
    """Also write TensorBoard events into the experiment (needs the package tensorboard)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How an adapter is trained."""

    dataset: str | None = None
    """Name under datasets/, or a path to a folder or a file; usually given by --dataset."""
    base_model: Annotated[str, Reference("base_models")] = "smollm2-135m-instruct"
    """Name of the base model, as in `models base list`."""
    adapter: str | None = None
    """Name of the adapter that gets a new version; default: after the dataset."""
    experiment: str | None = None
    """Name of the folder under experiments/ that records the run; default: after the adapter."""
    parent: str | None = None
    """Version to continue from, NAME or NAME@VERSION; its base and LoRA settings must be equal."""
    org: str | None = None
    """Organisation that the adapter belongs to; default: the dataset's."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Seed of the adapter's start, the row order, dropout and noise."""
    neftune_alpha: Annotated[float, Range(0, 100)] = 0.0
    """Noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914); 0: none."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """The low-rank change."""
    data: DataSettings = field(default_factory=DataSettings)
    """Rows to tokens."""
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    """How long and how fast."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    """How it is computed."""
    keep: KeepSettings = field(default_factory=KeepSettings)
    """Checkpoints, evaluations and logs."""
