"""A decoder is used only where it gives the logits of transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize, quantize
from transformers import Gemma2Config

from modelyard.inference import decoder as decoder_module
from modelyard.inference import linears
from modelyard.inference.bank import LoraPass
from modelyard.inference.decoder import Decoder
from modelyard.inference.four_bit import BaseGrid
from modelyard.inference.proof import open_decoder, prove_adapter, prove_base
from modelyard.inference.stock import StockDecoder
from modelyard.inference.structure import recognise
from modelyard.weights.grid import Blocks, write_grid
from tiny_models import FAMILIES, tiny_model, tokens, wanted_logits, write_adapter

ROWS = [tokens(n, n) for n in (30, 24, 40)]


def open_noting(model: Any, grid: BaseGrid | None = None) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return open_decoder(model, ROWS, note=notes.append, grid=grid), notes


def model_on_a_grid(folder: Path, dtype: torch.dtype) -> tuple[Any, BaseGrid]:
    """A tiny model whose layers were made from blocks of four bits, except `down_proj`."""
    model = tiny_model(FAMILIES["qwen2"])
    kind = GGMLQuantizationType.Q4_1
    blocks = {}
    for name, weight in model.named_parameters():
        if "_proj.weight" in name and weight.shape[1] % 32 == 0:
            packed = quantize(weight.numpy(), kind)
            weight.copy_(torch.from_numpy(dequantize(packed, kind)).to(torch.bfloat16))
            blocks[name] = Blocks("Q4_1", np.ascontiguousarray(packed.reshape(len(packed), -1, 20)))
    write_grid(folder, blocks)
    return model.to(dtype), BaseGrid.load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_recognised_base_is_proven(dtype: torch.dtype) -> None:
    model = tiny_model(FAMILIES["llama, tied"]).to(dtype)
    decoder, notes = open_noting(model)
    assert isinstance(decoder, Decoder)
    assert notes == []
    proof = prove_base(decoder, model, ROWS)
    assert 0 < proof.difference < proof.tolerance / 2


def test_a_wrong_piece_is_found_out_and_transformers_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = decoder_module.rotate_
    monkeypatch.setattr(decoder_module, "rotate_", lambda x, cos, sin: right(x, cos, -sin))
    model = tiny_model(FAMILIES["qwen2"])
    decoder, notes = open_noting(model)
    assert isinstance(decoder, StockDecoder)
    assert notes[0].startswith("answers are computed by transformers, which is slower: logits")


def test_a_nan_is_no_proof() -> None:
    model = tiny_model(FAMILIES["llama, tied"])
    decoder = Decoder(recognise(model))
    decoder._norm.weight.fill_(float("nan"))
    assert not prove_base(decoder, model, ROWS).holds


def test_another_structure_is_computed_by_transformers() -> None:
    config = Gemma2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    decoder, notes = open_noting(tiny_model(config))
    assert isinstance(decoder, StockDecoder)
    assert "models of type gemma2 are computed by transformers" in notes[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_is_proven_and_the_base_stays_as_it_was(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_model(FAMILIES["qwen3"]).to(dtype)
    before = wanted_logits(model, ROWS[0])
    folder = write_adapter(tmp_path, model, use_rslora=True)
    assert prove_adapter(Decoder(recognise(model)), model, folder, ROWS).holds
    assert torch.equal(wanted_logits(model, ROWS[0]), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_that_is_left_out_is_found_out(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(FAMILIES["llama, tied"]).to(dtype)
    folder = write_adapter(tmp_path, model)
    monkeypatch.setattr(LoraPass, "add", lambda *_: None)
    assert not prove_adapter(Decoder(recognise(model)), model, folder, ROWS).holds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_and_an_adapter_are_proven_on_the_grid_of_the_base(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "four_bit_rows", lambda _: 4)
    model, grid = model_on_a_grid(tmp_path, dtype)
    folder = write_adapter(tmp_path / "adapter", model)
    decoder, notes = open_noting(model, grid)

    assert isinstance(decoder, Decoder) and notes == []
    assert decoder.four_bit and not Decoder(recognise(model)).four_bit
    on_grid = prove_base(decoder, model, ROWS).difference
    assert on_grid != prove_base(Decoder(recognise(model)), model, ROWS).difference
    assert prove_adapter(decoder, model, folder, ROWS).holds


def test_a_grid_that_gives_other_weights_is_not_used_and_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "four_bit_rows", lambda _: 4)
    model, grid = model_on_a_grid(tmp_path, torch.bfloat16)
    for layer in model.model.layers:
        for module in (layer.self_attn.v_proj, layer.self_attn.o_proj, layer.mlp.up_proj):
            module.weight[-1, -1] += 1

    decoder, notes = open_noting(model, grid)

    assert isinstance(decoder, Decoder) and not decoder.four_bit
    assert notes == [
        "the grid of the base's weights is not used: "
        "the integers kept beside the weights give other weights"
    ]
