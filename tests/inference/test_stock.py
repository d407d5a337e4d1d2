"""What transformers and PEFT compute behind the same interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config

from modelyard.adapters.lora import AdapterMismatch
from modelyard.inference.decoder import Decoder
from modelyard.inference.interfaces import Segment
from modelyard.inference.stock import StockDecoder
from modelyard.inference.structure import recognise
from tiny_models import (
    FAMILIES,
    adapted_model,
    logits_of,
    tiny_model,
    tokens,
    wanted_logits,
    write_adapter,
)

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
GEMMA = Gemma2Config(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=512,
    sliding_window=8,
    initializer_range=0.2,
)


@pytest.mark.parametrize("config", [FAMILIES["llama, tied"], GEMMA], ids=["llama", "gemma2"])
def test_rows_of_several_adapters_give_the_logits_of_each_alone(
    config: Any, tmp_path: Path
) -> None:
    model = tiny_model(config)
    decoder = StockDecoder(model)
    folders = [
        write_adapter(tmp_path / "dora", model, use_dora=True),
        write_adapter(tmp_path / "head", model, target_modules=["q_proj", "lm_head"]),
    ]
    slots: list[int | None] = [None]
    slots += [decoder.bank.acquire(decoder.bank.load(folder)) for folder in folders]
    wanted_from = [model, *(adapted_model(model, folder) for folder in folders)]
    rows = [tokens(12 + 3 * number, number) for number in range(6)]
    handles = [decoder.kv.allocate(len(row)) or 0 for row in rows]
    found: list[list[torch.Tensor]] = [[] for _ in rows]
    for at in range(10, 27):
        chosen = [n for n, row in enumerate(rows) if at < len(row)]
        segments = [
            Segment(handles[n], rows[n][:11], 0, slots[n % 3], "all")
            if at == 10
            else Segment(handles[n], rows[n][at : at + 1], at, slots[n % 3], "all")
            for n in chosen
        ]
        sizes = [len(segment.tokens) for segment in segments]
        for n, part in zip(chosen, decoder.step(segments).split(sizes), strict=True):
            found[n].append(part)
    for n, row in enumerate(rows):
        wanted = wanted_logits(wanted_from[n % 3], row)
        assert torch.allclose(torch.cat(found[n]), wanted, **CLOSE), n
    assert torch.equal(wanted_logits(model, rows[0]), wanted_logits(tiny_model(config), rows[0]))


def test_a_slot_is_used_again_and_a_copied_beginning_goes_on(tmp_path: Path) -> None:
    model = tiny_model(FAMILIES["qwen3"])
    decoder = StockDecoder(model, slots=1)
    row = tokens(30)
    for number in range(2):
        folder = write_adapter(tmp_path / str(number), model, seed=number, use_dora=True)
        adapter = decoder.bank.load(folder)
        slot = decoder.bank.acquire(adapter)
        wanted = wanted_logits(adapted_model(model, folder), row)
        assert torch.allclose(logits_of(decoder, row, slot=slot, chunk=9), wanted, **CLOSE)
        assert decoder.bank.acquire(adapter) == slot
        decoder.bank.release(slot or 0)
        decoder.bank.unload(adapter)
        decoder.bank.release(slot or 0)
    first, second = (decoder.kv.allocate(30) or 0 for _ in range(2))
    decoder.step([Segment(first, row[:20], 0, None, "none")])
    for start, count in ((0, 9), (9, 7)):
        decoder.kv.write(second, start, decoder.kv.copy(first, start, count))
    found = decoder.step([Segment(second, row[16:], 16, None, "all")])
    assert torch.allclose(found, wanted_logits(model, row)[16:], **CLOSE)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    decoder = StockDecoder(tiny_model(FAMILIES["llama, tied"]))
    other = write_adapter(tmp_path, tiny_model(FAMILIES["llama, three groups"]), use_dora=True)
    with pytest.raises(AdapterMismatch, match="PEFT cannot load it"):
        decoder.bank.acquire(decoder.bank.load(other))
    assert logits_of(decoder, tokens(3)).shape == (3, 97)


@pytest.mark.parametrize("began_as", ["pissa", "pissa_niter_2", "olora"])
def test_an_adapter_that_took_its_beginning_out_of_the_base_leaves_the_base_alone(
    began_as: str, tmp_path: Path
) -> None:
    model = tiny_model(FAMILIES["llama, tied"])
    before = wanted_logits(model, tokens(9))
    folder = write_adapter(tmp_path, model, init_lora_weights=began_as)
    for decoder in (StockDecoder(model), Decoder(recognise(model))):
        with pytest.raises(AdapterMismatch, match=f"init_lora_weights: {began_as}") as caught:
            decoder.bank.load(folder)
        assert "path_initial_model_for_weight_conversion" in str(caught.value.hint)
    assert torch.equal(wanted_logits(model, tokens(9)), before)


def test_biases_of_an_adapter_leave_the_base_and_the_others_alone(tmp_path: Path) -> None:
    model = tiny_model(FAMILIES["qwen2"])
    row = tokens(12)
    biases = {"all": "all", "second": "all", "plain": "none"}
    folders = [
        write_adapter(tmp_path / name, model, seed=len(name), bias=bias)
        for name, bias in biases.items()
    ]
    for folder in folders[:2]:
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        assert any(name.endswith(".bias") for name in tensors)
        changed = {name: tensor + name.endswith(".bias") for name, tensor in tensors.items()}
        save_file(changed, path)
    before = wanted_logits(model, row)
    wanted = [wanted_logits(adapted_model(model, folder), row) for folder in folders]
    decoder = StockDecoder(model)
    slots = [decoder.bank.acquire(decoder.bank.load(folder)) for folder in folders]
    for slot, logits in zip([None, *slots], [before, *wanted], strict=True):
        assert torch.allclose(logits_of(decoder, row, slot=slot), logits, **CLOSE)


def test_a_weight_of_the_base_in_an_adapter_is_refused(tmp_path: Path) -> None:
    model = tiny_model(FAMILIES["qwen2"])
    before = wanted_logits(model, tokens(9))
    path = write_adapter(tmp_path, model, use_dora=True) / "adapter_model.safetensors"
    norm = {"base_model.model.model.norm.weight": torch.full((32,), 5.0)}
    save_file(load_file(path) | norm, path)
    decoder = StockDecoder(model)
    with pytest.raises(AdapterMismatch, match=r"norm\.weight, which is a weight of the base"):
        decoder.bank.load(tmp_path)
    assert torch.equal(wanted_logits(model, tokens(9)), before)


def test_no_kind_of_adapter_and_no_failed_load_disturbs_the_next(tmp_path: Path) -> None:
    model = tiny_model(FAMILIES["qwen2"])
    row = tokens(12)
    folders = {
        "head": write_adapter(tmp_path / "head", model, target_modules=["q_proj", "lm_head"]),
        "saved": write_adapter(tmp_path / "saved", model, modules_to_save=["lm_head"]),
        "tokens": write_adapter(tmp_path / "tokens", model, trainable_token_indices=[3, 5]),
        "embedding": write_adapter(tmp_path / "e", model, target_modules=["embed_tokens"]),
        "plain": write_adapter(tmp_path / "plain", model, target_modules=["q_proj"]),
    }
    broken = write_adapter(tmp_path / "broken", model)
    config = json.loads((broken / "adapter_config.json").read_text())
    config["rank_pattern"] = {"down_proj": 0}  # PEFT fails when it has adapted other modules
    (broken / "adapter_config.json").write_text(json.dumps(config))
    decoder = StockDecoder(model)
    for name, folder in folders.items():
        with pytest.raises(AdapterMismatch, match="PEFT cannot load it"):
            decoder.bank.acquire(decoder.bank.load(broken))
        slot = decoder.bank.acquire(decoder.bank.load(folder))
        wanted = wanted_logits(adapted_model(model, folder), row)
        assert torch.allclose(logits_of(decoder, row, slot=slot), wanted, **CLOSE), name
