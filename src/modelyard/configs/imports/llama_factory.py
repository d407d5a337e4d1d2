"""LLaMA-Factory's settings, of its command line and of its version 1.

Source: its argument classes, `hparams/` and `v1/config/`.
"""

from __future__ import annotations

from typing import Any

from modelyard.configs.imports.arguments import (
    move_batch,
    move_keeping,
    move_packing,
    move_precision,
    move_schedule,
    refuse_unless_lora,
)
from modelyard.configs.imports.data import note_eval_share, note_sources
from modelyard.configs.imports.left_out import leave_out_rest
from modelyard.configs.imports.reader import Reader, Unfit, flag, modules, number, positive, text

GROUPS = ("peft_config", "quant_config", "kernel_config", "dist_config", "optim_config")
_NOT_PLAIN = "of the variants of LoRA there are lora.dora and lora.rslora here"
_REASONS = {
    "pissa_*": _NOT_PLAIN,
    "loraplus_*": _NOT_PLAIN,
    "use_galore": _NOT_PLAIN,
    "use_llama_pro": _NOT_PLAIN,
    "create_new_adapter": _NOT_PLAIN,
    "use_kt": "every layer is computed on one device here",
    "kt_*": "every layer is computed on one device here",
    "use_v1_kernels": "how it is computed is decided here, and does not change the result",
    "dataset_dir": "a dataset is given by name or path, and has no list of its own",
    "max_new_tokens": "nothing is generated while training",
}
_LISTED_IN = "LLaMA-Factory's dataset_info.json"


def translate_llama_factory(reader: Reader, *, as_lora: bool) -> None:
    """Carry over what a file of LLaMA-Factory says.

    Raises InvalidInput for what trains something else, or does not train.
    """
    if reader.has("model") or reader.has("peft_config.name"):
        _translate_v1(reader, as_lora=as_lora)
        return
    stage = reader.get("stage") or "sft"
    if stage != "sft":
        raise reader.refuse(
            "stage",
            f"this file is for stage {stage}",
            "there is no such training here: `models fine-tune` does what stage sft does",
        )
    if reader.get("do_train") is False or not (
        reader.has("do_train") or reader.has("learning_rate") or reader.has("lora_rank")
    ):
        raise reader.refuse(
            "model_name_or_path",
            "this file does not train (no do_train): it answers, exports or merges with a model",
            "name the file with which the adapter was trained",
        )
    reader.base = reader.read("model_name_or_path", text)
    reader.move("schedule.learning_rate", "learning_rate", number, 5e-5)
    kind = reader.get("finetuning_type") or "lora"
    if kind == "full":
        refuse_unless_lora(reader, "finetuning_type", as_lora=as_lora)
    elif kind != "lora":
        raise reader.refuse(
            "finetuning_type", f"this file trains by {kind}", "use `finetuning_type: lora`"
        )
    rank = reader.move("lora.rank", "lora_rank", positive, 8)
    reader.move("lora.alpha", "lora_alpha", number, (rank or 8) * 2)
    reader.move("lora.dropout", "lora_dropout", number, 0.0)
    reader.move("lora.rslora", "use_rslora", flag)
    reader.move("lora.dora", "use_dora", flag)
    reader.move("lora.targets", "lora_target", modules, ["all-linear"])
    _move_bits(reader, "quantization_bit", "quantization_method")
    reader.move("data.max_length", "cutoff_len", positive, 2048)
    move_batch(reader, micro="per_device_train_batch_size", default_micro=8)
    move_packing(reader, "neat_packing packing")
    move_schedule(
        reader,
        epochs="num_train_epochs",
        shape="lr_scheduler_type",
        default_epochs=3.0,
        default_shape="linear",
        default_warmup=0.0,
    )
    move_precision(reader, "bf16 pure_bf16", "fp16", "infer_dtype")
    move_keeping(reader)
    if reader.read("disable_shuffling", flag):
        reader.carry("schedule.shuffle", False, "disable_shuffling")
    for key in ("dataset", "eval_dataset"):
        note_sources(reader, key, _names(reader.get(key)), listed_in=_LISTED_IN)
    note_eval_share(reader, "val_size")
    leave_out_rest(reader, _REASONS)


def _translate_v1(reader: Reader, *, as_lora: bool) -> None:
    reader.base = reader.read("model", text)
    reader.move("schedule.learning_rate", "learning_rate", number, 1e-4)
    kind = reader.get("peft_config.name")
    if kind is None:
        refuse_unless_lora(reader, "peft_config.name", as_lora=as_lora)
    elif kind != "lora":
        raise reader.refuse("peft_config.name", f"this file trains by {kind}", "use `name: lora`")
    reader.move("lora.rank", "peft_config.r", positive, 8)
    reader.move("lora.alpha", "peft_config.lora_alpha", number, 16)
    reader.move("lora.dropout", "peft_config.lora_dropout", number, 0.05)
    reader.move("lora.rslora", "peft_config.use_rslora", flag)
    reader.move("lora.dora", "peft_config.use_dora", flag)
    reader.move("lora.targets", "peft_config.target_modules", modules, ["all-linear"])
    _move_bits(reader, "quant_config.quantization_bit", "quant_config.name")
    reader.move("data.max_length", "cutoff_len", positive, 2048)
    if reader.move("schedule.rows_per_step", "global_batch_size", positive) is None:
        move_batch(reader, micro="micro_batch_size", default_micro=1)
    reader.get("micro_batch_size")
    move_schedule(
        reader,
        epochs="num_train_epochs",
        shape="lr_scheduler_type",
        default_epochs=3.0,
        default_shape="constant",
        default_warmup=0.0,
    )
    move_precision(reader, "bf16", "fp16")
    move_keeping(reader)
    for key in ("train_dataset", "eval_dataset"):
        note_sources(reader, key, _names(reader.get(key)))
    leave_out_rest(reader, _REASONS)


def _move_bits(reader: Reader, bits: str, method: str) -> None:
    name = str(reader.get(method) or "bnb").lower()
    if name not in ("bnb", "bitsandbytes", "auto"):
        reader.leave_out(method, "4 and 8 bits come from bitsandbytes here")

    def words(value: Any) -> str:
        found = {4: "4bit", 8: "8bit"}.get(positive(value))
        if found is None:
            raise Unfit("has no counterpart here: 4 or 8 bits")
        return found

    reader.move("compute.quantize", bits, words, "none")


def _names(value: Any) -> list[Any]:
    """The data sets in a text with commas, or in a list."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    return value if isinstance(value, list) else [value] if value is not None else []
