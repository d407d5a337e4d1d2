"""The tensors that are counted for a forecast are those that live in a training step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.training.base_shape import load_base_shape
from modelyard.training.fast_path import TrainingModel
from modelyard.training.live_tensors import BatchShape, KernelPath, TensorCounts
from modelyard.training.trainer import build_adapter_model
from modelyard.weights.local import LocalBase

SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> LocalBase:
    folder = tmp_path_factory.mktemp("counted")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE))
    model.to(torch.bfloat16).save_pretrained(folder)
    return LocalBase("counted", folder, "sha256:0", 1, "path")


def rows(*lengths: int) -> list[TokenRow]:
    chance = np.random.default_rng(2)
    return [
        TokenRow(
            chance.integers(3, 4000, length).astype(np.int32),
            np.arange(length) >= length * 3 // 4,
            f"row:{length}",
        )
        for length in lengths
    ]


def traced_peak_bytes(model: TrainingModel, chosen: list[TokenRow], folder: Path) -> int:
    """The most that was allocated at a time in one forward and backward pass."""
    batch = model.pack(chosen)
    (model.loss_sum(batch) / len(batch.labels)).backward()  # gradients and caches are there
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        (model.loss_sum(batch) / len(batch.labels)).backward()
    found.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


CASES: dict[str, tuple[dict[str, Any], str, KernelPath, list[int]]] = {
    "short rows": ({}, "bf16", "fast", [60] * 12),
    "one long row": ({}, "bf16", "fast", [700]),
    "a long row, in blocks": ({}, "bf16", "fast", [1100]),
    "fp32, long rows, in blocks": ({}, "fp32", "fast", [800, 790]),
    "long rows": ({}, "bf16", "fast", [300, 280]),
    "fp32": ({}, "fp32", "fast", [60] * 12),
    "fp32, one long row": ({}, "fp32", "fast", [500]),
    "rank 64": ({"rank": 64}, "bf16", "fast", [60] * 12),
    "two targets": ({"targets": ("q_proj", "v_proj")}, "bf16", "fast", [60] * 12),
    "gated layers only": (
        {"targets": ("gate_proj", "up_proj", "down_proj")}, "bf16", "fast", [60] * 12,
    ),
    "dropout": ({"dropout": 0.1}, "bf16", "mixed", [60] * 12),
    "DoRA": ({"dora": True}, "bf16", "mixed", [200] * 3),
    "DoRA, fp32": ({"dora": True}, "fp32", "mixed", [200] * 3),
    "recomputed": ({}, "bf16", "fast", [60] * 12),
    "recomputed, long rows": ({}, "bf16", "fast", [300, 280]),
    "sdpa": ({}, "bf16", "fast", [300, 280]),
    "stock": ({}, "bf16", "stock", [60] * 12),
    "stock, one row": ({}, "bf16", "stock", [600]),
    "stock, fp32": ({}, "fp32", "stock", [60] * 12),
    "stock, dropout": ({"dropout": 0.1}, "fp32", "stock", [200] * 3),
}  # fmt: skip


IN_SOAK = (
    *("fp32, long rows, in blocks", "fp32, one long row", "DoRA, fp32"),
    *("recomputed, long rows", "stock, one row"),
)
"""Of which others show each half."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.soak] * (case in IN_SOAK)) for case in CASES],
)
def test_the_counted_tensors_are_those_that_live(
    case: str, base: LocalBase, tmp_path: Path
) -> None:
    options, precision, path, lengths = CASES[case]
    lora = LoraSettings(**{"rank": 8, **options})
    model = TrainingModel(
        build_adapter_model(base, lora, precision=precision, quantize="none", device="cpu", seed=0),
        noisy=lora.dropout > 0,
    )
    model.model.train()
    checkpointing = case.startswith("recomputed")
    if checkpointing:
        model.model.enable_input_require_grads()
        model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.layout.kernel = "sdpa" if "sdpa" in case else "rows"
    if path != "stock":
        model.use_fast_path()
    chosen = rows(*lengths)
    labels = sum(int(row.trained[1:].sum()) for row in chosen)
    counts = TensorCounts(
        shape=load_base_shape(base.path),
        lora=lora,
        batch=BatchShape(sum(lengths), len(lengths), max(lengths), labels),
        number=2 if precision == "bf16" else 4,
        path=path,
        row_attention=model.layout.kernel == "rows",
        checkpointing=checkpointing,
    )
    traced = traced_peak_bytes(model, chosen, tmp_path)
    assert counts.at_peak().total == pytest.approx(traced, rel=0.08)
