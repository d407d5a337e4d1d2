"""From a preflight to trained weights: model, kernels and trainer put together, and let run."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from modelyard.core.freed_memory import map_large_blocks
from modelyard.core.peak_memory import peak_memory_bytes
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.inference.waiting import share_cores
from modelyard.inference.weights import quiet_libraries
from modelyard.training.choices import is_noisy, mapped_block_bytes
from modelyard.training.experiment import (
    Experiment,
    StopRequest,
    checkpoint_step,
    list_checkpoints,
)
from modelyard.training.fast_path import TrainingModel, prove_fast_path
from modelyard.training.packed import RowLayout
from modelyard.training.preflight import Preflight
from modelyard.training.trainer import (
    BEST_NAME,
    TrainingFailed,
    adapter_weights,
    build_adapter_model,
    build_trainer,
    load_adapter_weights,
    write_adapter,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of training."""

    finished: bool
    """False when it was asked to stop before the plan's end."""
    step: int
    """The last step that was done."""
    model: Any
    tokenizer: Any
    peak_bytes: int
    """The most memory that was taken: of the process, or on the GPU."""

    def write(self, folder: Path) -> None:
        """Write the adapter with the tokenizer and chat template it was trained with."""
        write_adapter(self.model, folder)
        self.tokenizer.save_pretrained(folder)


def train(
    check: Preflight, experiment: Experiment, *, progress: Progress, stop: StopRequest
) -> Outcome:
    """Train as planned, going on from the newest checkpoint. Raises TrainingFailed."""
    quiet_libraries()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(check.choices.threads)
    share_cores()
    if least_bytes := mapped_block_bytes(check.spec, check.choices):
        map_large_blocks(least_bytes)
    progress.stage(f"load: {check.base.name} in {check.choices.precision}")
    model = build_training_model(check, progress)
    tokenizer = AutoTokenizer.from_pretrained(check.base.path, local_files_only=True)
    trainer = build_trainer(model, tokenizer, check, experiment, progress=progress, stop=stop)
    checkpoint = next(iter(list_checkpoints(experiment.checkpoints)[::-1]), None)
    steps = len(check.plan.steps)
    done = checkpoint_step(checkpoint) if checkpoint else 0
    trainer.metrics_file.rewind(done)
    rows = min(check.schedule.rows_per_step, len(check.train.rows))
    size = f"{counted(rows, 'row')}{' each' if steps > 1 else ''}"
    rate = f", learning rate {check.schedule.learning_rate:g}"
    started = f", go on after step {done}" if done else f" of {size}{rate}"
    progress.stage(f"train: {counted(steps, 'step')}{started}")
    progress.begin("train", steps, "steps")
    begun = {name: weight.detach().clone() for name, weight in adapter_weights(model.model).items()}
    seed_everything(check.spec.seed)
    if done < steps:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    else:
        load_adapter_weights(model.model, Path(str(checkpoint)))
        trainer.state.global_step = done
    progress.end()
    step = trainer.state.global_step
    finished = step >= steps or not stop.asked  # without a request, it ends before only by patience
    if finished:
        best = experiment.checkpoints / BEST_NAME
        if check.spec.keep.stop_after_worse and best.exists():
            load_adapter_weights(model.model, best)
        _require_change(begun, adapter_weights(model.model))
    model.use_stock_path()
    return Outcome(finished, step, model.model, tokenizer, _peak_bytes())


def build_training_model(check: Preflight, progress: Progress) -> TrainingModel:
    """The base with a fresh adapter, on the fast path if that is asked for and proves right."""
    choices: Any = check.choices
    model = TrainingModel(
        build_adapter_model(
            check.base,
            check.spec.lora,
            precision=choices.precision,
            quantize=choices.quantize,
            device=choices.device,
            seed=check.spec.seed,
        ),
        RowLayout(check.spec.compute.attention),
        noisy=is_noisy(check.spec),
    )
    if check.parent is not None:
        progress.stage(f"continue from {check.parent.name}")
        load_adapter_weights(model.model, check.parent.path)
    if check.spec.compute.compile:
        model.model.get_base_model().get_decoder().compile(dynamic=True)
    elif check.spec.compute.fast_path:
        proof = prove_fast_path(model, check.train.rows)
        if not proof.holds:
            progress.warn(
                "this base is computed the stock way, slower: the kernels differ by "
                f"{max(proof.loss_difference, proof.gradient_difference):.2g} "
                f"(allowed {proof.tolerance:g})"
            )
    return model


def _peak_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return peak_memory_bytes()


def seed_everything(seed: int) -> None:
    """Seed every generator that training may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _require_change(begun: dict[str, torch.Tensor], ended: dict[str, torch.Tensor]) -> None:
    """Raise TrainingFailed when the adapter ended as it began, or is not finite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in ended.values()):
        raise TrainingFailed(
            "the adapter's weights are not finite at the end",
            hint="lower schedule.learning_rate",
        )
    if all(torch.equal(begun[name], ended[name]) for name in begun):
        raise TrainingFailed(
            "the adapter is unchanged after training",
            hint="check schedule.learning_rate, and the trained tokens with `--check --show 3`",
        )
