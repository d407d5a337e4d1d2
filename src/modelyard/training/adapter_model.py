"""A base model with a LoRA adapter on it: made fresh, written to a folder, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
)
from safetensors.torch import load_file, save_file

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.inference.weights import Precision, Quantization, load_weights
from modelyard.weights.local import LocalBase

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
