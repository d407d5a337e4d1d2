"""TRL's settings: those of `trl sft --config`, and of scripts with SFTConfig and ModelConfig.

Source: TRL's documentation, `SFTConfig`, `ModelConfig` and `ScriptArguments`.
"""

from __future__ import annotations

from modelyard.configs.imports.arguments import (
    move_batch,
    move_bits,
    move_keeping,
    move_packing,
    move_precision,
    move_schedule,
    refuse_unless_lora,
)
from modelyard.configs.imports.data import note_sources
from modelyard.configs.imports.left_out import leave_out_rest
from modelyard.configs.imports.reader import Reader, flag, modules, number, positive, text

_OTHER_TASKS = (
    "reward_funcs",
    "reward_model_path",
    "reward_model_name_or_path",
    "num_generations",
    "beta",
    "max_prompt_length",
    "desirable_weight",
    "undesirable_weight",
    "rpo_alpha",
    "simpo_gamma",
    "precompute_ref_log_probs",
)
_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "load_in_4bit")
_REASONS = {
    "dataset_*split": "a dataset has its training rows and its evaluation rows",
    "dataset_config": "prepare the rows of that configuration of the data set",
    "dataset_text_field": "rows are conversations; `models prepare-data --prompt` maps columns",
    "dataset_kwargs": "rows are conversations; `models prepare-data --prompt` maps columns",
    "dataset_streaming": "a dataset is read before training here",
    "dataset_mixture": "prepare the data sets as one: `models prepare-data FILE FILE --out NAME`",
    "loss_type": "the loss is the cross-entropy of the answers' tokens",
}


def translate_trl(reader: Reader, *, as_lora: bool) -> None:
    """Carry over what a TRL file says. Raises InvalidInput for what trains something else."""
    for key in _OTHER_TASKS:
        if reader.has(key):
            raise reader.refuse(
                key,
                f"this file trains on preferences or rewards ('{key}')",
                "there is no such training here: `models fine-tune` does what `trl sft` does",
            )
    reader.base = reader.read("model_name_or_path", text)
    if reader.has("num_processes") and reader.devices is None:
        reader.devices = reader.read("num_processes", positive)
    reader.move("schedule.learning_rate", "learning_rate", number, 2e-5)
    use_peft = reader.read("use_peft", flag)
    if use_peft is False or (use_peft is None and not any(map(reader.has, _LORA))):
        refuse_unless_lora(reader, "use_peft", as_lora=as_lora)
    reader.move("lora.rank", "lora_r", positive, 16)
    reader.move("lora.alpha", "lora_alpha", number, 32)
    reader.move("lora.dropout", "lora_dropout", number, 0.05)
    reader.move("lora.rslora", "use_rslora", flag)
    reader.move("lora.dora", "use_dora", flag)
    if reader.move("lora.targets", "lora_target_modules", modules) is None:
        # PEFT's choice for Llama, Mistral and Qwen when no module is named.
        reader.carry("lora.targets", ["q_proj", "v_proj"])
    move_bits(reader)
    reader.move("data.max_length", "max_length max_seq_length", positive, 1024)
    move_batch(reader, micro="per_device_train_batch_size", default_micro=8)
    move_packing(reader, "packing")
    move_schedule(
        reader,
        epochs="num_train_epochs",
        shape="lr_scheduler_type",
        default_epochs=3.0,
        default_shape="linear",
        default_warmup=0.0,
    )
    move_precision(reader, "bf16", "fp16", "dtype torch_dtype")
    move_keeping(reader)
    names = [reader.get("dataset_name")] if reader.has("dataset_name") else []
    note_sources(reader, "dataset_name", names)
    leave_out_rest(reader, _REASONS)
