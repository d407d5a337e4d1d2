"""axolotl's settings. Source: its documentation, "Config Reference"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.configs.imports.arguments import (
    move_batch,
    move_bits,
    move_keeping,
    move_packing,
    move_precision,
    move_schedule,
    refuse_unless_lora,
)
from modelyard.configs.imports.data import note_eval_share, note_sources
from modelyard.configs.imports.left_out import leave_out_rest
from modelyard.configs.imports.reader import Reader, flag, modules, number, positive, text

_QUANTISED = "a base that is already quantised cannot be trained here"
_REASONS = {
    "peft*": "of the variants of LoRA there are lora.dora and lora.rslora here",
    "relora*": "the low-rank change is never merged while training",
    "jagged_restart_*": "the learning rate is not restarted here",
    "pretraining_dataset": "plain text is not trained on; rows are conversations",
    "gptq*": _QUANTISED,
    "model_quantization_*": _QUANTISED,
}

_AS_HERE: Mapping[str, Sequence[Any]] = {
    "type": ("chat_template", "sharegpt", "alpaca"),
    "roles_to_train": (["assistant"], ["gpt"], ["assistant", "gpt"], ["gpt", "assistant"]),
    "train_on_eos": ("turn",),
    "split": ("train",),
    "ds_type": ("json", "csv", "parquet", "text"),
    "field_messages": ("messages", "conversations"),
}
_INSIDE = {
    "roles_to_train": "only answers are trained",
    "train_on_eos": "every answer is trained with its end",
    "split": "the training split is read; of another, or of a part, prepare a file",
    "shards": "the whole is read; prepare a file of a part",
    "chat_template": "the base's own chat template is used",
}


def translate_axolotl(reader: Reader, *, as_lora: bool) -> None:
    """Carry over what an axolotl file says. Raises InvalidInput for what trains something else."""
    for key in ("rl", "reward_model", "process_reward_model"):
        if reader.get(key):
            raise reader.refuse(
                key,
                f"this file trains on preferences or rewards ('{key}')",
                "there is no such training here: `models fine-tune` trains on good answers",
            )
    kind = reader.get("adapter")
    if kind not in (None, "lora", "qlora"):
        raise reader.refuse("adapter", f"this file trains a {kind} adapter", "use `adapter: lora`")
    reader.base = reader.read("base_model", text)
    reader.move("schedule.learning_rate", "learning_rate", number)
    if kind is None:
        refuse_unless_lora(reader, "adapter", as_lora=as_lora)
    _move_lora(reader)
    move_bits(reader, otherwise="4bit" if kind == "qlora" else "none")
    reader.move("data.max_length", "sequence_len", positive, 512)
    move_batch(reader, micro="micro_batch_size", default_micro=1, together="batch_size")
    move_packing(reader, "sample_packing")
    move_schedule(
        reader,
        epochs="num_epochs",
        shape="lr_scheduler",
        default_epochs=1.0,
        default_shape="cosine",
        default_warmup=0.03,
    )
    move_precision(reader, "bf16 bfloat16", "fp16 float16", "torch_dtype")
    move_keeping(reader)
    if reader.read("use_tensorboard", flag):
        reader.carry("keep.tensorboard", True, "use_tensorboard")
    if reader.read("curriculum_sampling", flag):
        reader.carry("schedule.shuffle", False, "curriculum_sampling")
    for key in ("datasets", "test_datasets"):
        listed = reader.get(key) or []
        entries = listed if isinstance(listed, list) else [listed]
        note_sources(
            reader,
            key,
            [entry.get("path") if isinstance(entry, dict) else entry for entry in entries],
        )
        for place, entry in enumerate(entries if isinstance(listed, list) else []):
            for part, value in entry.items() if isinstance(entry, dict) else ():
                if reason := _reason_inside(part, value):
                    reader.leave_out_inside(key, place, part, reason)
    note_eval_share(reader, "val_set_size")
    leave_out_rest(reader, _REASONS)


def _reason_inside(part: str, value: Any) -> str | None:
    """Why a key of a data set is not carried over; None where it says what is done here anyway."""
    if part == "path" or value in _AS_HERE.get(part, ()):
        return None
    if part == "type" and value == "completion":
        return "plain texts are prepared with `models prepare-data --text-column COLUMN`"
    if part == "type" and isinstance(value, dict):
        return "questions and answers are made of columns by `prepare-data --prompt --answer`"
    return _INSIDE.get(part, "has no counterpart; `models prepare-data --help` says what is read")


def _move_lora(reader: Reader) -> None:
    reader.move("lora.rank", "lora_r", positive)
    reader.move("lora.alpha", "lora_alpha", number)
    reader.move("lora.dropout", "lora_dropout", number)
    reader.move("lora.rslora", "peft_use_rslora", flag)
    reader.move("lora.dora", "peft_use_dora", flag)
    if reader.read("lora_target_linear", flag):
        reader.carry("lora.targets", ["all-linear"], "lora_target_linear")
        reader.get("lora_target_modules")  # they are among them
    else:
        reader.move("lora.targets", "lora_target_modules", modules)
