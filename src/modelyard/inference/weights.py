"""A base's weights into memory: precision, quantisation, device.

Quantised loading asks bitsandbytes and needs CUDA; a machine that cannot gets an error, never a
silent fall-back. bitsandbytes is imported only when it is asked for.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.installing import install_command

Precision = Literal["bf16", "fp32"]
Quantization = Literal["none", "4bit", "8bit"]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and advice out of our output; their errors still raise."""
    transformers.utils.logging.disable_progress_bar()
    for name in ("transformers", "peft", "trl", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # transformers warns of its own deprecated names (5.23); drop this when it stops.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", category=FutureWarning, module="peft")


def load_weights(
    folder: Path, *, precision: Precision, quantize: Quantization = "none", device: str
) -> Any:
    """The causal language model in `folder`, frozen, on `device`.

    Raises InvalidInput when quantisation is asked of a machine that cannot, ModelyardError when the
    weights cannot be loaded.
    """
    quiet_libraries()
    options: dict[str, Any] = {"dtype": DTYPES[precision], "attn_implementation": "sdpa"}
    if quantize != "none":
        options["quantization_config"] = _quantization(quantize, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, device_map=device, **options
        )
    except (OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        raise ModelyardError(
            f"the base's weights cannot be loaded: {error}",
            where=str(folder),
            hint="`models base show NAME --verify` checks the files",
        ) from error
    model.requires_grad_(False)
    return model


def _quantization(quantize: Quantization, device: str) -> Any:
    require_quantization(quantize, device)
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def require_quantization(quantize: str, device: str) -> None:
    """Raise InvalidInput, saying what is missing, unless this machine can quantise."""
    from importlib.util import find_spec

    if device != "cuda":
        raise InvalidInput(
            f"{quantize} quantisation needs a CUDA GPU, and this machine has none",
            where="compute.quantize",
            hint="use `--quantize none`, or run on a machine with a GPU",
        )
    if find_spec("bitsandbytes") is None:
        raise InvalidInput(
            f"{quantize} quantisation needs bitsandbytes, which is not installed",
            where="compute.quantize",
            hint=f"install it with `{install_command('bitsandbytes')}`",
        )
