"""Settings files of other training programs, told by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FEWEST = 2
"""Keys of a program that make a file one of its own: a single one may be a mistake."""

_OWN_GROUPS = ("lora", "data", "schedule", "compute", "keep")
"""A file with one of these is a config of this program, maybe with keys in the wrong place."""

_KEYS = {
    program: frozenset(keys.split())
    for program, keys in {
        "axolotl": (
            "sequence_len micro_batch_size num_epochs lr_scheduler val_set_size sample_packing "
            "dataset_prepared_path datasets lora_target_linear evals_per_epoch saves_per_epoch "
            "train_on_inputs wandb_watch pad_to_sequence_len lora_model_dir tokenizer_type"
        ),
        "LLaMA-Factory": (
            "stage finetuning_type cutoff_len template lora_rank lora_target quantization_bit "
            "dataset_dir plot_loss overwrite_cache preprocessing_num_workers val_size max_samples "
            "neat_packing adapter_name_or_path infer_backend export_dir tokenized_path "
            "peft_config quant_config train_dataset dist_config"
        ),
        "TRL": (
            "model_name_or_path dataset_name dataset_mixture dataset_config dataset_train_split "
            "use_peft lora_r max_seq_length load_in_4bit load_in_8bit torch_dtype "
            "assistant_only_loss completion_only_loss packing_strategy num_train_epochs "
            "per_device_train_batch_size gradient_accumulation_steps lr_scheduler_type "
            "warmup_ratio output_dir report_to neftune_noise_alpha use_liger_kernel "
            "chat_template_path eval_strategy"
        ),
    }.items()
}
"""Keys that are only in files of one program, in the order in which the programs are tried.

TRL comes last: its files also have the arguments of transformers' trainer, as LLaMA-Factory's do.
"""


def program_of(values: Mapping[Any, Any]) -> str | None:
    """The program whose settings these are: axolotl, LLaMA-Factory or TRL; None for any other."""
    if any(isinstance(values.get(group), dict) for group in _OWN_GROUPS):
        return None
    for program, keys in _KEYS.items():
        if sum(key in keys for key in values) >= _FEWEST:
            return program
    return None


def called(program: str) -> str:
    """`an axolotl config`, `a TRL config`."""
    return f"an {program} config" if program[0] in "aeiou" else f"a {program} config"
