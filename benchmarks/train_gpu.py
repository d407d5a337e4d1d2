"""Training speed and memory on a GPU, with random weights of a given architecture.

Nothing is downloaded: the weights are drawn at random in the shape of a known model, the rows are
random tokens. Prints the table of `make bench-train` for each setting, on whatever device there is.

    python benchmarks/train_gpu.py [--shape smollm2-135m|qwen-3b|mistral-7b|tiny] [--steps 20]
        [--row-tokens 256] [--rows-per-step 16] [--settings bf16,stock,checkpointing,4bit,8bit]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import ModelyardError
from modelyard.inference.machine import measure_matmul_gflops, probe_machine
from modelyard.training.base_shape import load_base_shape
from modelyard.training.fast_path import TrainingModel, prove_fast_path
from modelyard.training.live_tensors import BatchShape
from modelyard.training.memory import RunBatches, predict_memory
from modelyard.training.trainer import build_adapter_model
from modelyard.weights.local import LocalBase

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 4096, "tie_word_embeddings": True,
    },
    "smollm2-135m": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "qwen-3b": {
        "model_type": "qwen2", "hidden_size": 2048, "intermediate_size": 11008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32000, "tie_word_embeddings": False, "sliding_window": None,
    },
}  # fmt: skip
WARM_UP = 3


def write_base(shape: str, folder: Path) -> LocalBase:
    """A base of this shape with random weights in bf16, on the disk as any other."""
    (folder / "config.json").write_text(
        json.dumps({**SHAPES[shape], "max_position_embeddings": 8192})
    )
    config = AutoConfig.from_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return LocalBase(shape, folder, "sha256:random", 0, "random")


def draw_rows(count: int, tokens: int, vocabulary: int) -> list[TokenRow]:
    """Rows of random tokens, the second half of each trained."""
    chance = np.random.default_rng(0)
    return [
        TokenRow(
            chance.integers(10, vocabulary, tokens).astype(np.int32),
            np.arange(tokens) >= tokens // 2,
            f"row {number}",
        )
        for number in range(count)
    ]


def measure(setting: str, base: LocalBase, rows: list[TokenRow], steps: int, per_step: int) -> str:
    """One row of the table."""
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    lora = LoraSettings()
    quantize: Any = setting if setting in ("4bit", "8bit") else "none"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    model = TrainingModel(
        build_adapter_model(base, lora, precision="bf16", quantize=quantize, device=device, seed=0)
    )
    checkpointing = setting == "checkpointing"
    if checkpointing:
        model.model.enable_input_require_grads()
        model.model.gradient_checkpointing_enable({"use_reentrant": False})
    proof = "-"
    if setting != "stock":
        found = prove_fast_path(model, rows)
        proof = f"{found.gradient_difference:.3f}{'' if found.holds else ' (refused)'}"
    model.model.train()
    trained = [weight for weight in model.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    startup_s = time.perf_counter() - started
    seconds = []
    for step in range(steps + WARM_UP):
        chosen = [rows[(step * per_step + place) % len(rows)] for place in range(per_step)]
        if cuda:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        batch = model.pack(chosen).to(device)
        (model.loss_sum(batch) / len(batch.labels)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    step_s = statistics.median(seconds[WARM_UP:])
    shape = load_base_shape(base.path)
    predicted = predict_memory(
        shape,
        lora,
        RunBatches(
            trained=[
                BatchShape(
                    tokens=batch.input_ids.shape[1],
                    rows=per_step,
                    longest=max(len(row.input_ids) for row in chosen),
                    labels=len(batch.labels),
                )
            ]
        ),
        precision="bf16",
        quantize=quantize,
        checkpointing=checkpointing,
        path="fast" if model.fast and quantize == "none" else "mixed" if model.fast else "stock",
        attention="auto",
        device=device,
    ).total
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    tokens = sum(len(row.input_ids) for row in chosen)
    labels = len(batch.labels)
    flops = tokens * (4 * shape.linear_parameters + 6 * shape.adapter_parameters(lora))
    flops += labels * 4 * shape.vocabulary * shape.hidden
    best = measure_matmul_gflops([torch.bfloat16], shape=(4096, 4096, 4096), repeats=10)[0]
    return (
        f"| {setting} | {per_step / step_s:.1f} | {tokens / step_s:,.0f} | {labels / step_s:,.0f} "
        f"| {startup_s:.1f} | {peak / 1e6:,.0f} | {predicted / 1e6:,.0f} "
        f"| {flops / step_s / 1e9 / best:.0%} | {proof} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", default="smollm2-135m", choices=sorted(SHAPES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--row-tokens", type=int, default=256)
    parser.add_argument("--rows-per-step", type=int, default=16)
    parser.add_argument("--settings", default="bf16,stock,checkpointing,4bit,8bit")
    given = parser.parse_args()
    print(f"{probe_machine().describe()} · {given.shape}, {given.row_tokens} tokens a row\n")
    print(
        "| setting | rows/s | tokens/s | label tokens/s | start-up s | peak MB | predicted MB "
        "| share of bf16 peak | gradient difference |\n|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        base = write_base(given.shape, Path(folder))
        vocabulary = SHAPES[given.shape]["vocab_size"]
        rows = draw_rows(4 * given.rows_per_step, given.row_tokens, vocabulary)
        for setting in given.settings.split(","):
            try:
                print(measure(setting, base, rows, given.steps, given.rows_per_step), flush=True)
            except ModelyardError as error:
                print(f"| {setting} | {error.message} | | | | | | | |", flush=True)


if __name__ == "__main__":
    main()
