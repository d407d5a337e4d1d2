"""What the three programs have in common: the arguments of transformers' trainer, mostly.

Source: the documentation of `transformers.TrainingArguments`; PyTorch's AdamW.
"""

from __future__ import annotations

from modelyard.configs.imports.reader import (
    Reader,
    flag,
    number,
    one_of,
    positive,
    steps,
    whole,
)

_SHAPES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
_OPTIMIZERS = {
    word: optimizer
    for optimizer, words in {
        "adamw": "adamw_torch adamw_torch_fused adamw_hf adamw_apex_fused adamw_torch_xla "
        "adamw_torch_npu_fused paged_adamw paged_adamw_32bit",
        "adamw_8bit": "adamw_8bit adamw_bnb_8bit paged_adamw_8bit adamw_torch_8bit ao_adamw_8bit",
    }.items()
    for word in words.split()
}


def move_schedule(
    reader: Reader,
    *,
    epochs: str,
    shape: str,
    default_epochs: float,
    default_shape: str,
    default_warmup: float,
) -> None:
    """Length, learning-rate schedule, warm-up, decay, clipping, optimizer and seed."""
    most = reader.read("max_steps", whole)
    if most is not None and most > 0:
        reader.carry("schedule.max_steps", most, "max_steps")
        reader.move("schedule.epochs", epochs, number)
    else:
        reader.move("schedule.epochs", epochs, number, default_epochs)
    reader.move(
        "schedule.shape",
        shape,
        one_of(_SHAPES, "has no counterpart here, where it is linear, cosine or constant"),
        default_shape,
    )
    _move_warmup(reader, shape, default_warmup)
    reader.move("schedule.weight_decay", "weight_decay", number)
    reader.move("schedule.max_grad_norm", "max_grad_norm", number)
    reader.move(
        "compute.optimizer",
        "optimizer optim",
        one_of(_OPTIMIZERS, "is not among the optimizers here, AdamW with 32 or 8 bits"),
    )
    reader.move("seed", "seed", whole)
    reader.move("neftune_alpha", "neftune_noise_alpha noisy_embedding_alpha", number)


def _move_warmup(reader: Reader, shape: str, default: float) -> None:
    """The share of the steps over which the learning rate rises.

    A number of steps wins over a share, as it does there; it becomes a share where `max_steps`
    says how many steps there are.
    """
    counted = reader.read("warmup_steps", number)
    share = reader.read("warmup_ratio", number)
    if any(str(reader.get(key)).lower() == "constant" for key in shape.split()):
        reader.carry("schedule.warmup_share", 0.0, *shape.split())
        return
    if counted is None or (counted == 0 and share is not None):
        keys = ("warmup_ratio",) if share is not None else ()
        reader.carry("schedule.warmup_share", default if share is None else share, *keys)
    elif counted < 1:
        reader.carry("schedule.warmup_share", counted, "warmup_steps")
    elif (most := reader.carried.get("schedule.max_steps")) is not None:
        reader.carry(
            "schedule.warmup_share",
            round(min(counted / most.value, 0.9), 4),
            "warmup_steps",
            "max_steps",
        )
    else:
        reader.leave_out(
            "warmup_steps",
            "is a number of steps, and schedule.warmup_share a share of them: divide it by the "
            "steps that `models fine-tune --check` shows",
        )


def move_batch(reader: Reader, *, micro: str, default_micro: int, together: str = "") -> None:
    """Rows in each optimizer step: rows on a device, times accumulated batches, times devices.

    `together` is the key for the rows of a step on a device, where no batches are accumulated.
    """
    rows = reader.read(micro, positive) or default_micro
    accumulated = reader.read("gradient_accumulation_steps", positive)
    in_all = reader.read(together, positive)
    keys = [micro, "gradient_accumulation_steps"]
    if accumulated is None and in_all is not None:
        accumulated, keys = max(1, in_all // rows), [together]
    devices = reader.devices or 1
    reader.carry("schedule.rows_per_step", rows * (accumulated or 1) * devices, *keys)
    if devices > 1:
        reader.note("schedule.rows_per_step", f"those of {devices} devices together")
    elif any(map(reader.has, ("fsdp", "fsdp_config", "deepspeed", "use_ray"))):
        reader.note(
            "schedule.rows_per_step",
            "those of one device, and the file is for several: give --devices N",
        )


def move_packing(reader: Reader, keys: str) -> None:
    """Whether rows are laid end to end; there, a packed sequence counts as one row of a step."""
    packed = reader.move("data.packing", keys, flag)
    if packed:
        longest = reader.carried.get("data.max_length")
        size = f" of up to {longest.value:,} tokens" if longest else ""
        reader.note(
            "schedule.rows_per_step",
            f"a row is a packed sequence{size} there, and a single row here: "
            "multiply it by the rows that fit into one",
        )


def move_precision(reader: Reader, bf16: str, fp16: str, dtype: str = "") -> None:
    """The number format of the base: bf16, fp32, or the faster one."""
    for key in bf16.split():
        value = reader.get(key)
        if str(value).lower() in ("true", "full"):
            reader.carry("compute.precision", "bf16", key)
        elif value is False and not any(map(reader.get, fp16.split())):
            reader.carry("compute.precision", "fp32", key)
    for key in fp16.split():
        if reader.get(key):
            reader.leave_out(key, "fp16 has no counterpart here: bf16 or fp32, whichever is faster")
    for key in dtype.split():
        value = str(reader.get(key) or "auto").removeprefix("torch.").lower()
        formats = {"bfloat16": "bf16", "float32": "fp32", "auto": None}
        if value not in formats:
            reader.leave_out(key, "has no counterpart here: bf16 or fp32, whichever is faster")
        elif formats[value] and "compute.precision" not in reader.carried:
            reader.carry("compute.precision", formats[value], key)


def move_bits(reader: Reader, *, otherwise: str = "none") -> None:
    """4 or 8 bits for the base's weights, from `load_in_4bit` and `load_in_8bit`."""
    bits = {"load_in_4bit": "4bit", "load_in_8bit": "8bit"}
    found = [key for key in bits if reader.read(key, flag)]
    if found:
        reader.carry("compute.quantize", bits[found[0]], found[0])
    else:
        reader.carry("compute.quantize", otherwise, *bits)


def move_keeping(reader: Reader) -> None:
    """Checkpoints, evaluations and logs."""
    reader.move("keep.checkpoint_every_steps", "save_steps", steps)
    reader.move("keep.checkpoints_kept", "save_total_limit", positive)
    reader.move("keep.log_every_steps", "logging_steps", steps)
    reader.move("keep.stop_after_worse", "early_stopping_patience", whole)
    strategy = next(filter(reader.has, ("eval_strategy", "evaluation_strategy")), "eval_strategy")
    when = str(reader.get(strategy) or "").lower()
    per_epoch = reader.read("evals_per_epoch", number)
    if when == "no" or (when == "" and per_epoch == 0):
        reader.carry("keep.evaluate_every_steps", "never", strategy, "evals_per_epoch")
        reader.get("eval_steps")
        return
    reader.move("keep.evaluate_every_steps", "eval_steps", steps)
    if when == "epoch":
        reader.leave_out(strategy, "is counted in steps here; `auto` evaluates four times in a run")
    if per_epoch:
        reader.leave_out(
            "evals_per_epoch", "is counted in steps here; `auto` evaluates four times in a run"
        )
    if "tensorboard" in str(reader.get("report_to") or ""):
        reader.carry("keep.tensorboard", True, "report_to")


def refuse_unless_lora(reader: Reader, key: str, *, as_lora: bool) -> None:
    """Raise InvalidInput for a file that trains all weights, unless a LoRA adapter is wanted."""
    if not as_lora:
        raise reader.refuse(
            key,
            f"this {reader.program} file trains all weights, and a LoRA adapter is trained here",
            "with --as-lora it is translated for a LoRA adapter",
        )
    reader.note(
        "schedule.learning_rate",
        "it was chosen for training all weights; LoRA mostly needs about ten times as much",
    )
