"""TRL's SFTTrainer on this project's batches, losses and checkpoints.

SFTTrainer owns the loop, the optimizer, the schedule, NEFTune, checkpointing and logging. What it
trains on is a plan of steps made beforehand, so one item of its dataset is one optimizer step;
what it writes is staged and renamed, so a checkpoint is whole or absent.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
)
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback
from trl import SFTConfig, SFTTrainer

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import make_folder, staged_folder
from modelyard.core.freed_memory import trim_heap
from modelyard.core.progress import Progress
from modelyard.inference.weights import Precision, Quantization, load_weights
from modelyard.training.batches import EVALUATION_TOKENS, split_by_tokens
from modelyard.training.cautions import zero_loss_caution
from modelyard.training.choices import mapped_block_bytes
from modelyard.training.experiment import (
    CHECKPOINT_PREFIX,
    Experiment,
    MetricsFile,
    StopRequest,
    list_checkpoints,
)
from modelyard.training.fast_path import TrainingModel
from modelyard.training.preflight import Preflight
from modelyard.weights.local import LocalBase

BEST_NAME = "best"


class TrainingFailed(ModelyardError):
    """Training cannot give a useful adapter: the loss is not finite, or no weight changes."""


class ProjectTrainer(SFTTrainer):  # type: ignore[misc]
    """One optimizer step per item; see `build_trainer`."""

    control: Any

    def __init__(
        self,
        training_model: TrainingModel,
        check: Preflight,
        experiment: Experiment,
        progress: Progress,
        **options: Any,
    ) -> None:
        super().__init__(model=training_model.model, **options)
        self.training_model, self.check = training_model, check
        self.checkpoints, self.progress = experiment.checkpoints, progress
        self.metrics_file = MetricsFile(experiment.metrics_file)
        self._told_of_zero_loss = False
        self.tokens_done = 0
        self.started_at = time.monotonic()

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Learn from the batches of one step; the loss is the mean over all its labels."""
        model.train()
        batches = inputs["batches"]
        labels = sum(len(batch.labels) for batch in batches)
        if labels == 0:
            raise TrainingFailed(
                f"step {self.state.global_step + 1} has no trained token",
                hint="`--check` shows which rows have answers",
            )
        total = torch.zeros((), device=self.args.device)
        for batch in batches:
            loss = self.training_model.loss_sum(batch) / labels
            self.accelerator.backward(loss)
            total += loss.detach()
            self.tokens_done += batch.row_tokens
        if mapped_block_bytes(self.check.spec, self.check.choices):
            trim_heap()  # holes grow from step to step, since batches differ in size
        if not torch.isfinite(total):
            raise TrainingFailed(
                f"the loss is {float(total)} in step {self.state.global_step + 1}",
                where=f"rows {', '.join(self._sources(inputs['rows']))}",
                hint="lower schedule.learning_rate, or use --set compute.precision=fp32",
            )
        return total

    def _sources(self, rows: Sequence[int], shown: int = 4) -> list[str]:
        named = [self.check.train.rows[row].source for row in rows[:shown]]
        return [*named, f"and {len(rows) - shown} more"] if len(rows) > shown else named

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss over the labels of the evaluation rows, with the kernels of training."""
        done = self.metrics_file.rows[-1:]
        if done and done[0]["step"] == self.state.global_step and "eval_loss" in done[0]:
            return {"eval_loss": done[0]["eval_loss"]}  # the loop asks twice after the last step
        self.model.eval()
        rows = self.check.evaluation.rows
        lengths = [len(row.input_ids) for row in rows]
        total, labels = 0.0, 0
        with torch.no_grad():
            for chosen in split_by_tokens(range(len(rows)), lengths, EVALUATION_TOKENS):
                batch = self.training_model.pack([rows[index] for index in chosen])
                batch = batch.to(self.args.device)
                total += float(self.training_model.loss_sum(batch))
                labels += len(batch.labels)
        self.model.train()
        found = {"eval_loss": total / labels}
        self.metrics_file.add({"step": self.state.global_step, **found})
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, found)
        self._keep_the_best()
        return found

    def _keep_the_best(self) -> None:
        """With early stopping, keep the best weights aside and stop when it got worse too often."""
        patience = self.check.spec.keep.stop_after_worse
        if not patience:
            return
        seen = [row["eval_loss"] for row in self.metrics_file.rows if "eval_loss" in row]
        best = min(range(len(seen)), key=seen.__getitem__)
        if best == len(seen) - 1:
            target = self.checkpoints / BEST_NAME
            shutil.rmtree(target, ignore_errors=True)
            with staged_folder(target) as staged:
                write_adapter(self.model, staged)
        elif len(seen) - 1 - best >= patience:
            self.progress.stage(f"stopped early: {patience} evaluations without a better eval loss")
            self.control.should_training_stop = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A row of metrics.jsonl and a line or bar of progress."""
        if "loss" not in logs:
            return
        elapsed_s = time.monotonic() - self.started_at
        row = {
            "step": self.state.global_step,
            "epoch": round(self.state.global_step / self.check.plan.steps_per_epoch, 3),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens_per_s": round(self.tokens_done / elapsed_s, 1),
            "elapsed_s": round(elapsed_s, 2),
        }
        self.metrics_file.add(row)
        self.state.log_history.append(row)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)
        if not self._told_of_zero_loss and (line := zero_loss_caution(self.metrics_file.rows)):
            self._told_of_zero_loss = True
            self.progress.warn(line)
        figures = f"loss {row['loss']:.3f} · {row['tokens_per_s']:,.0f} tokens/s"
        self.progress.advance(self.state.global_step, figures)
        if row["grad_norm"] == 0 and row["learning_rate"] > 0:
            raise TrainingFailed(
                f"nothing is trained: the adapter's gradient is zero in step {row['step']}",
                hint="check lora.targets and the trained tokens with `--check --show 3`",
            )

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here; the trainer asks for it after each step."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Everything that a resumed run needs, in one rename; then drop the oldest."""
        final = self.checkpoints / f"{CHECKPOINT_PREFIX}{self.state.global_step}"
        if not final.exists():
            with staged_folder(final) as staged:
                write_adapter(self.model, staged)
                self._save_optimizer_and_scheduler(str(staged))
                self._save_rng_state(str(staged))
                self.state.save_to_json(str(staged / "trainer_state.json"))
        for old in list_checkpoints(self.checkpoints)[: -self.check.spec.keep.checkpoints_kept]:
            shutil.rmtree(old, ignore_errors=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Copy a checkpoint's adapter weights into the model; every one must be there."""
        load_adapter_weights(self.model, Path(resume_from_checkpoint))


@dataclass(eq=False)
class _Stopping(TrainerCallback):  # type: ignore[misc]
    """Turns a request to stop into a checkpoint and an end at the next step."""

    request: StopRequest

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.request.asked:
            control.should_save = True
            control.should_training_stop = True


def build_trainer(
    model: TrainingModel,
    tokenizer: PreTrainedTokenizerBase,
    check: Preflight,
    experiment: Experiment,
    *,
    progress: Progress,
    stop: StopRequest,
) -> ProjectTrainer:
    """A trainer that takes the plan's steps on the training rows and writes into `experiment`."""
    spec, steps = check.spec, len(check.plan.steps)
    schedule, keep = spec.schedule, spec.keep
    evaluate_every = keep.evaluate_every_steps if check.evaluation.rows else "never"
    named_intervals = {"auto": max(1, steps // 4), "never": None}
    eval_steps = (
        evaluate_every if isinstance(evaluate_every, int) else named_intervals[evaluate_every]
    )
    args = SFTConfig(
        output_dir=str(experiment.folder),
        use_cpu=check.choices.device == "cpu",
        bf16=False,  # the weights are in the chosen precision already: no autocast
        fp16=False,
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=check.schedule.learning_rate,
        # transformers' own `constant` has no warm-up.
        lr_scheduler_type="constant_with_warmup"
        if schedule.shape == "constant"
        else schedule.shape,
        warmup_steps=check.plan.warmup_steps(schedule),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        optim="adamw_torch_fused" if spec.compute.optimizer == "adamw" else "adamw_bnb_8bit",
        seed=spec.seed,
        neftune_noise_alpha=spec.neftune_alpha or None,
        gradient_checkpointing=check.choices.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False}
        if check.choices.checkpointing
        else None,
        logging_strategy="steps",
        logging_steps=keep.log_every_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=max(1, min(50, steps // 10))
        if keep.checkpoint_every_steps == "auto"
        else keep.checkpoint_every_steps,
        eval_strategy="steps" if eval_steps else "no",
        eval_steps=eval_steps,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        shuffle_dataset=False,
    )

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        step = cast(list[list[int]], items[0]["step"])
        batches = [model.pack([check.train.rows[row] for row in batch]) for batch in step]
        return {"batches": batches, "rows": [index for batch in step for index in batch]}

    trainer = ProjectTrainer(
        model,
        check,
        experiment,
        progress,
        args=args,
        data_collator=collate,
        train_dataset=Dataset.from_dict({"step": list(check.plan.steps)}),
        eval_dataset=Dataset.from_dict({"step": [[[0]]]}) if eval_steps else None,
        processing_class=tokenizer,
        callbacks=[_Stopping(stop)],
    )
    trainer.remove_callback(PrinterCallback)
    if keep.tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        make_folder(experiment.tensorboard)
        trainer.add_callback(
            TensorBoardCallback(SummaryWriter(log_dir=str(experiment.tensorboard)))
        )
    return trainer


WEIGHTS_NAME = "adapter_model.safetensors"


def build_adapter_model(
    base: LocalBase,
    lora: LoraSettings,
    *,
    precision: Precision,
    quantize: Quantization,
    device: str,
    seed: int,
) -> Any:
    """A PeftModel whose adapter starts at a zero change; A is drawn from `seed`, weights in fp32.

    Raises InvalidInput when a target names no module of the base.
    """
    model = load_weights(base.path, precision=precision, quantize=quantize, device=device)
    if quantize != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    targets: Any = list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InvalidInput(
            f"the targets {', '.join(targets)} do not fit base '{base.name}': {error}",
            where="lora.targets",
            hint="`all-linear` fits every base",
        ) from error
    # The card and adapter_config.json name the base, not a folder of this machine.
    adapted.peft_config["default"].base_model_name_or_path = base.name
    return adapted


def adapter_weights(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors under the names that PEFT saves them by."""
    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))


def write_adapter(model: Any, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json, as PEFT reads them.

    PEFT's own save_pretrained looks the base up on the hub and writes a model card of its own.
    """
    weights = {
        name: weight.detach().cpu().contiguous() for name, weight in adapter_weights(model).items()
    }
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    config = model.peft_config["default"]
    training, config.inference_mode = config.inference_mode, True
    config.save_pretrained(str(folder))
    config.inference_mode = training


def load_adapter_weights(model: Any, folder: Path) -> None:
    """Copy saved weights into `model` in place. Raises ModelyardError when one is missing."""
    saved = load_file(folder / WEIGHTS_NAME)
    current = adapter_weights(model)
    if saved.keys() != current.keys():
        raise ModelyardError(
            "the checkpoint does not hold this adapter's weights",
            where=str(folder),
            hint="start over with --fresh",
        )
    for name, weight in current.items():
        weight.data.copy_(saved[name])
