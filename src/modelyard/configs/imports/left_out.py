"""Why keys of other programs have no counterpart: one reason for each family of keys.

The keys are patterns, as `fnmatch` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from modelyard.configs.imports.reader import Reader

_SAME_HERE: Mapping[str, tuple[Any, ...]] = {
    "adam_beta1": (0.9,),
    "adam_beta2": (0.999,),
    "adam_epsilon": (1e-8,),
    "bnb_4bit_quant_type": ("nf4",),
    "use_bnb_nested_quant": (True,),
    "double_quantization": (True,),
    "quantization_method": ("bnb", "bitsandbytes"),
    "model_revision": ("main",),
    "lora_task_type": ("CAUSAL_LM",),
    "train_on_inputs": (False,),
    "train_on_prompt": (False,),
    "mask_history": (False,),
    "lora_fan_in_fan_out": (False,),
    "train_on_eos": ("turn",),
    "group_by_length": (False,),
    "completion_only_loss": (True,),
    "assistant_only_loss": (True,),
}
"""Keys whose value is what this program always does: with another value they are left out."""

_COMPUTE = "how it is computed is decided here, and does not change the result"
_FILES = "versions and checkpoints have their own places here"
_TRACKING = "each run has its record in experiments/, and no tracking service"
_DEVICES = "a run has one device here"
_COMMAND = "the command says what is done, and with which rows"
_LOADING = "the base's card and files say how it is loaded"

_NOT_NEEDED: Mapping[str, str] = {
    pattern: reason
    for reason, patterns in {
        _COMPUTE: "attn_implementation flash_attention flash_attn* flash_optimum "
        "xformers_attention sdp_attention sdpa_attention eager_attention flex_attention "
        "flex_attn* use_sage* liger_* "
        "use_liger* enable_liger* plugins lora_*_kernel torch_compile* tf32 gradient_checkpoint* "
        "disable_gradient_checkpointing activation_offloading dataloader_* *_num_workers "
        "dataset_num_proc dataset_processes pad_to_* low_cpu_mem_usage cut_cross_entropy "
        "eval_sample_packing eval_packing eval_batch_size per_device_eval_batch_size use_kernels "
        "use_*_kernels *_kernel device_map experimental_skip_move_to_device kernel_config.* "
        "fused_attn_kernel use_unsloth* torch_empty_cache_steps remove_unused_columns "
        "use_scattermoe use_sonicmoe experts_implementation mixed_precision padding_free "
        "batching_* enable_activation_checkpointing use_cache jit_mode_eval torchdistx_path "
        "gptq_disable_exllama average_tokens_across_devices packing_strategy",
        _FILES: "output_dir overwrite_* hub_* push_to_hub push_dataset_to_hub "
        "resume_from_checkpoint auto_resume_from_checkpoints save_only_model save_strategy "
        "dataset_prepared_path tokenized_path save_safetensors skip_prepare_dataset "
        "export_hf_on_finish saves_per_epoch save_first_step save_on_each_node",
        _TRACKING: "wandb_* use_wandb mlflow_* use_mlflow comet_* use_comet swanlab_* "
        "use_swanlab trackio_* use_trackio otel_* use_otel_metrics report_to plot_loss "
        "logging_strategy logging_dir logging_first_step log_level* run_name include_* debug "
        "loss_watchdog_* profiler_*",
        _DEVICES: "fsdp* deepspeed* ddp* *_parallel_size *_parallel use_ray ray_* local_rank "
        "dp_* cp_* mp_* dist_config.* world_size num_processes accelerate_config num_machines "
        "use_distributed_optimizer overlap_param_gather overlap_grad_reduce",
        _LOADING: "model_type tokenizer_type processor_type trust_remote_code tokenizer_use_fast "
        "tokenizer_legacy is_*_derived_model strict model_class use_fast_tokenizer "
        "tokenizer_use_mistral_common hf_use_auth_token hf_hub_token torch_dtype dtype "
        "base_model_config tokenizer_config",
        _COMMAND: "do_train do_eval do_predict sample_backend",
    }.items()
    for pattern in patterns.split()
}

_REASONS: Mapping[str, str] = {
    pattern: reason
    for reason, patterns in {
        "only the low-rank change is trained; these modules stay as they are": "modules_to_save "
        "lora_modules_to_save additional_target unfrozen_parameters lora_target_parameters "
        "freeze_*",
        "the base's own chat template is used": "chat_template* template default_system "
        "default_system_message tool_format",
        "the base's tokenizer stays as it is": "special_tokens tokens added_tokens* eot_tokens "
        "eos_token pad_token bos_token resize_* new_special_tokens add_tokens",
        "only answers are trained": "train_on_inputs train_on_prompt completion_only_loss "
        "assistant_only_loss train_on_eos roles_to_train",
        "every answer of a conversation is trained": "mask_history",
        "prepare a dataset of that many rows instead": "max_samples",
        "to continue from an adapter, import it (`models adapters import`), and give --from": (
            "lora_model_dir adapter_name_or_path"
        ),
        "the base's card pins its revision": "model_revision revision_of_model revision",
        "AdamW has its usual constants here (0.9, 0.999, 1e-8)": "adam_beta1 adam_beta2 "
        "adam_epsilon adam_eps optim_args",
        "4 bits are always nf4 with double quantisation here": "bnb_4bit_* bnb_config_kwargs "
        "use_bnb_nested_quant double_quantization",
        "the learning rate falls to zero here": "lr_scheduler_kwargs cosine_min_lr_ratio "
        "cosine_constant_lr_ratio lr_quadratic_warmup",
        "a longer row is cut here, and refused when its answer would be lost": (
            "excess_length_strategy truncation_mode truncation_strategy"
        ),
        "images, sound and video are not trained": "image_* video_* audio_* mm_* "
        "vision_* crop_to_patches",
        "every row has the same weight, and they are shuffled": "group_by_length "
        "length_column_name interleave_probs mix_strategy",
        "`models prepare-data` removes duplicates": "dataset_exact_deduplication",
    }.items()
    for pattern in patterns.split()
}
_NO_COUNTERPART = "has no counterpart here"


def leave_out_rest(reader: Reader, reasons: Mapping[str, str]) -> None:
    """Give every key that was not read a reason; `reasons` are those of one program."""
    for key, value in reader.unread().items():
        if key in _SAME_HERE and value in _SAME_HERE[key]:
            reader.get(key)
            continue
        reason = next(
            (
                said
                for table in (reasons, _REASONS, _NOT_NEEDED)
                for pattern, said in table.items()
                if fnmatchcase(key, pattern)
            ),
            _NO_COUNTERPART,
        )
        reader.leave_out(key, reason)


def is_needless(reason: str) -> bool:
    """Whether a key was left out because the result does not depend on it."""
    return reason in _NOT_NEEDED.values()
