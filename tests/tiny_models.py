"""Tiny random models of every family, adapters for them as PEFT writes them, and their logits."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from modelyard.inference.interfaces import Segment, TokenDecoder

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _llama(**changes: Any) -> LlamaConfig:
    return LlamaConfig(**{**_SHAPE, **changes})


FAMILIES = {
    "llama, tied": _llama(tie_word_embeddings=True),
    "llama, one group": _llama(num_key_value_heads=4),
    "llama, three groups": _llama(
        hidden_size=48, num_attention_heads=6, num_key_value_heads=2, head_dim=16
    ),
    "llama, biases": _llama(attention_bias=True, mlp_bias=True),
    "llama3 rope": _llama(rope_parameters={"rope_theta": 1e4, **_LLAMA3}),
    "linear rope": _llama(
        rope_parameters={"rope_theta": 1e4, "rope_type": "linear", "factor": 4.0}
    ),
    "mistral": MistralConfig(**{**_SHAPE, "num_key_value_heads": 1}, sliding_window=None),
    "qwen2": Qwen2Config(**_SHAPE, rope_parameters={"rope_theta": 1e4, **_YARN}),
    "qwen3": Qwen3Config(**_SHAPE, head_dim=16, tie_word_embeddings=True),
}
EVERY_MODULE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def tiny_model(config: Any, seed: int = 0) -> Any:
    """A model of random weights, its norms and biases too."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    model.requires_grad_(False)
    for name, weight in model.named_parameters():
        if name.endswith(("norm.weight", ".bias")):
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return model


def write_adapter(folder: Path, model: Any, *, seed: int = 0, **options: Any) -> Path:
    """An adapter of random weights in `folder`, as PEFT saves it; `options` of its LoraConfig."""
    torch.manual_seed(seed)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": list(EVERY_MODULE), **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(**chosen))
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
        adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def adapted_model(model: Any, folder: Path) -> PeftModel:
    """What PEFT makes of a copy of the model and the adapter in `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()


def tokens(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 97, (length,), generator=generator).tolist()


@torch.no_grad()
def wanted_logits(model: Any, row: Sequence[int]) -> torch.Tensor:
    """[n, v]: what transformers computes for the whole row at once."""
    return model(input_ids=torch.tensor([list(row)]), use_cache=False).logits[0].float()


def logits_of(
    decoder: TokenDecoder, row: Sequence[int], *, slot: int | None = None, chunk: int | None = None
) -> torch.Tensor:
    """[n, v]: the row's logits after chunks of this length, in a row that is given back."""
    handle = decoder.kv.allocate(len(row))
    assert handle is not None
    size = chunk or len(row)
    found = [
        decoder.step([Segment(handle, row[at : at + size], at, slot, "all")])
        for at in range(0, len(row), size)
    ]
    decoder.kv.release(handle)
    return torch.cat(found)
