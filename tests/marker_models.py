"""A tiny random base, and adapters each of which can only answer with markers of its own.

The base never chooses a marker. An adapter makes one unit of the last gated layer positive for
every token, and lets it push a direction that the heads of its own eight markers share; which of
them is the likeliest is left to the base, and so follows from everything in the row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from tiny_models import EVERY_MODULE, tiny_model

PLAIN = 64
"""The tokens from 0 on that are no markers."""
MARKERS = 8
"""How many each adapter has."""
_HIDDEN, _INNER, _LAYERS, _HEAD = 64, 96, 2, 16
_CONSTANT = 0
"""The hidden unit that is the same for every token."""


def marker_model(adapters: int) -> Any:
    """A Llama of two layers whose vocabulary has markers for so many adapters."""
    vocabulary = PLAIN + adapters * MARKERS
    model = tiny_model(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=_HIDDEN,
            intermediate_size=_INNER,
            num_hidden_layers=_LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=_HEAD,
            max_position_embeddings=512,
            initializer_range=0.2,
            tie_word_embeddings=False,
        )
    )
    for layer in model.model.layers:
        for module in (layer.self_attn.o_proj, layer.mlp.down_proj):
            module.weight.mul_(0.1)
            module.weight[_CONSTANT] = 0
    model.model.embed_tokens.weight[:, _CONSTANT] = 1.5
    head = model.lm_head.weight
    head[:, _CONSTANT] = 0
    for number in range(adapters):
        own, shared = list(markers(number)), direction(number)
        across = head[own] @ shared
        head[own] += (1.5 * 3 - across).unsqueeze(1) * shared
        head[own, _CONSTANT] = -8
    return model


def direction(number: int) -> torch.Tensor:
    """What the heads of an adapter's markers share: [hidden]."""
    found = torch.randn(_HIDDEN, generator=torch.Generator().manual_seed(1000 + number))
    found[_CONSTANT] = 0
    return found / found.norm()


def markers(number: int) -> range:
    return range(PLAIN + number * MARKERS, PLAIN + (number + 1) * MARKERS)


def write_marker_adapter(folder: Path, model: Any, number: int, *, damaged: bool = False) -> Path:
    """The adapter with the markers of this number: LoRA of every module, of rank 2 to 9."""
    generator = torch.Generator().manual_seed(number)
    rank, unit = 2 + number % 8, number % _INNER
    sizes = {"q_proj": (64, 64), "k_proj": (32, 64), "v_proj": (32, 64), "o_proj": (64, 64),
             "gate_proj": (96, 64), "up_proj": (96, 64), "down_proj": (64, 96)}  # fmt: skip
    tensors = {}
    for layer in range(_LAYERS):
        for name in EVERY_MODULE:
            outputs, inputs = sizes[name]
            a = torch.randn(rank, inputs, generator=generator) * 0.02
            b = torch.randn(outputs, rank, generator=generator) * 0.02
            if name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                b[_CONSTANT] = 0
            if layer == _LAYERS - 1 and name in ("gate_proj", "up_proj"):
                a[0], b[:, 0] = 0, 0
                a[0, _CONSTANT] = 1
                b[unit, 0] = 4
            if name == "down_proj":
                b[_CONSTANT] = 0
                if layer == _LAYERS - 1:
                    base = model.model.layers[layer].mlp.down_proj.weight[:, unit]
                    a[0], b[:, 0] = 0, 0.25 * direction(number) - base
                    a[0, unit] = 1
            owner = "self_attn" if name in EVERY_MODULE[:4] else "mlp"
            module = f"base_model.model.model.layers.{layer}.{owner}.{name}"
            tensors[f"{module}.lora_A.weight"] = a
            tensors[f"{module}.lora_B.weight"] = b
    if damaged:
        tensors.popitem()
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(EVERY_MODULE),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
