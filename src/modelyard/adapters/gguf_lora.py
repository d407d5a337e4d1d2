"""A LoRA adapter as a GGUF file, which llama.cpp and ollama load beside the base's own GGUF.

Written with the package `gguf`. Names come from its table; the numbers are the adapter's, in fp32.
Source: llama.cpp's convert_lora_to_gguf.py and convert_hf_to_gguf.py say what its loader expects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.adapters.lora_weights import Matrix, read_lora
from modelyard.core.errors import ModelyardError

_ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
"""What gguf calls the models whose tensors it names one to one."""
_PAIRED_ROTARY = {"llama", "mistral"}
"""llama.cpp turns neighbouring rows of q and k together where transformers turns the two halves."""


def write_gguf_lora(adapter: Path, base: Path, target: Path, *, name: str) -> None:
    """Write the adapter in the folder `adapter`, made for the base in the folder `base`.

    Raises ModelyardError when the package gguf is missing, or it knows no such model or module.
    """
    try:
        import gguf
    except ImportError as error:
        raise ModelyardError(
            "the format gguf-lora needs the package gguf, which is not installed",
            hint="install it with `pip install gguf`",
        ) from error
    logging.getLogger("gguf").setLevel(logging.ERROR)
    config = json.loads((base / "config.json").read_bytes())
    kind = config.get("model_type")
    if kind not in _ARCHITECTURES:
        raise ModelyardError(
            f"an adapter of a {kind} model cannot be written as GGUF here",
            hint=f"it can for {', '.join(_ARCHITECTURES)}; `--format merged` works for all, and "
            "llama.cpp's convert_hf_to_gguf.py converts that",
        )
    lora, modules = read_lora(adapter)
    if lora.dora:
        raise ModelyardError(
            "is a DoRA, which GGUF has no form for",
            where=str(adapter),
            hint="use `--format merged`, and convert that with llama.cpp's convert_hf_to_gguf.py",
        )
    architecture = getattr(gguf.MODEL_ARCH, _ARCHITECTURES[kind])
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    for module in modules:
        called = names.get_name(f"{module.name}.weight", try_suffixes=(".weight",))
        if called is None:
            raise ModelyardError(f"GGUF has no name for the module {module.name}")
        # Its loader multiplies by alpha/rank, whatever the config's patterns say.
        b = module.b * np.float32(module.scale / (lora.alpha / module.rank))
        if kind in _PAIRED_ROTARY:
            b = _pair_rows(b, module.name, config)
        writer.add_tensor(f"{called}.lora_a", np.ascontiguousarray(module.a))
        writer.add_tensor(f"{called}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pair_rows(b: Matrix, module: str, config: Mapping[str, Any]) -> Matrix:
    """Bring the outputs of q and k into llama.cpp's order: the halves of each head interleaved."""
    heads = config["num_attention_heads"]
    if module.endswith(".k_proj"):
        heads = config.get("num_key_value_heads") or heads
    elif not module.endswith(".q_proj"):
        return b
    halves = b.reshape(heads, 2, b.shape[0] // heads // 2, b.shape[1])
    return halves.swapaxes(1, 2).reshape(b.shape)
