"""The kernels give the losses and gradients of the untouched model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.training import kernels
from modelyard.training.fast_path import TrainingModel, prove_fast_path
from modelyard.training.packed import pack_rows
from modelyard.training.trainer import build_adapter_model
from modelyard.weights.local import LocalBase

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "qwen2, with biases": Qwen2Config(**SHAPE),
    "qwen3, with norms inside attention": Qwen3Config(**SHAPE, head_dim=8),
}


def rows(*lengths: int) -> list[TokenRow]:
    chance = np.random.default_rng(3)
    return [
        TokenRow(
            chance.integers(3, 97, length).astype(np.int32),
            np.arange(length) >= length // 2,
            f"rows:{length}",
        )
        for length in lengths
    ]


def adapted(folder: Path, config: object, lora: LoraSettings | None = None) -> TrainingModel:
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    base = LocalBase("small", folder, "sha256:0", 1, "path")
    return TrainingModel(
        build_adapter_model(
            base,
            lora or LoraSettings(rank=4),
            precision="fp32",
            quantize="none",
            device="cpu",
            seed=0,
        )
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_gradients_equal_the_stock_ones(name: str, tmp_path: Path) -> None:
    model = adapted(tmp_path, CONFIGS[name])
    proof = prove_fast_path(model, rows(9, 14))
    assert proof.loss_difference < 1e-5
    assert proof.gradient_difference < 1e-4
    assert model.fast


@pytest.mark.parametrize(
    "lora",
    [
        LoraSettings(rank=4, targets=("q_proj", "v_proj")),
        LoraSettings(rank=4, rslora=True),
        LoraSettings(rank=4, dora=True),
    ],
    ids=["two targets", "rslora", "dora"],
)
def test_the_proof_holds_for_other_adapters(lora: LoraSettings, tmp_path: Path) -> None:
    proof = prove_fast_path(adapted(tmp_path, CONFIGS["llama"], lora), rows(9, 14))
    assert proof.holds
    assert proof.gradient_difference < 1e-4


def test_both_attention_kernels_agree(tmp_path: Path) -> None:
    model = adapted(tmp_path, CONFIGS["llama"])
    model.use_fast_path()
    batch = pack_rows(rows(9, 14, 5))
    losses = []
    for kernel in ("rows", "sdpa"):
        model.layout.kernel = kernel
        losses.append(float(model.loss_sum(batch).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("length", [14, 40])  # probabilities that are kept, or computed again
def test_attention_in_blocks_gives_the_same_bits(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    shapes = [(2, 3, 2, length, 8), (2, 3, length, 8), (2, 3, length, 8)]
    q, k, v = (torch.randn(shape, requires_grad=True) for shape in shapes)
    found = []
    for at_a_time in (10**6, 4 * length * length, 1):  # all, two key heads of a row, one
        monkeypatch.setattr(kernels, "SCORES_PER_BLOCK", at_a_time)
        seen = kernels.RowAttention.apply(q, k, v, 0.3)
        found.append((seen, *torch.autograd.grad(seen.square().sum(), (q, k, v))))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    torch.testing.assert_close(
        found[0][0].flatten(1, 2),
        F.scaled_dot_product_attention(
            q.flatten(1, 2), k, v, is_causal=True, scale=0.3, enable_gqa=True
        ),
    )


def test_no_row_of_a_packed_batch_sees_another(tmp_path: Path) -> None:
    model = adapted(tmp_path, CONFIGS["llama"])
    model.use_fast_path()
    first, second, other = rows(9, 14, 11)
    with torch.no_grad():
        alone = float(model.loss_sum(pack_rows([second])))
        for neighbour in (first, other):
            pair = float(model.loss_sum(pack_rows([neighbour, second])))
            itself = float(model.loss_sum(pack_rows([neighbour])))
            assert pair - itself == pytest.approx(alone, rel=1e-4)


def test_rows_that_begin_alike_share_places_and_nothing_else_changes(tmp_path: Path) -> None:
    model = adapted(tmp_path, CONFIGS["llama"])
    model.use_fast_path()
    first, second = rows(12, 16)
    second.input_ids[:7] = first.input_ids[:7]
    apart, shared = pack_rows([first, second]), pack_rows([first, second], share=True)
    assert (apart.input_ids.shape[1], shared.input_ids.shape[1]) == (28, 21)
    assert apart.row_tokens == shared.row_tokens == 28
    found = []
    for batch in (apart, shared):
        loss = model.loss_sum(batch)
        loss.backward()
        grads = [item.grad.clone() for item in model.model.parameters() if item.grad is not None]
        model.model.zero_grad()
        found.append((float(loss.detach()), grads))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for item, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(item, other, rtol=1e-3, atol=1e-5)


def test_a_wrong_kernel_is_found_out_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelyard.training import kernels

    right = kernels._rotate
    monkeypatch.setattr(kernels, "_rotate", lambda x, cos, sin, turn: right(x, cos, sin, -turn))
    model = adapted(tmp_path, CONFIGS["llama"])
    stock = float(model.loss_sum(pack_rows(rows(9))).detach())
    assert not prove_fast_path(model, rows(9, 14)).holds
    assert not model.fast
    assert float(model.loss_sum(pack_rows(rows(9))).detach()) == stock


def test_the_proof_leaves_the_adapter_as_it_was(tmp_path: Path) -> None:
    model = adapted(tmp_path, CONFIGS["llama"])
    before = {name: item.clone() for name, item in model.model.state_dict().items()}
    prove_fast_path(model, rows(9, 14))
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
