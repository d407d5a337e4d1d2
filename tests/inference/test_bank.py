"""Slots and the host tier: what is in a slot, what stays of it, and who is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelyard.adapters.lora import AdapterMismatch
from modelyard.core.errors import ModelyardError
from modelyard.inference.adapter_weights import AdapterNotCarried, read_adapter
from modelyard.inference.decoder import Decoder
from modelyard.inference.interfaces import Segment
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
ROW = tokens(20)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(FAMILIES["llama, tied"])


@pytest.fixture(scope="module")
def folders(model: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters: of all modules, of fewer with a lower rank, and of a higher rank."""
    where = tmp_path_factory.mktemp("adapters")
    return [
        write_adapter(where / "full", model, seed=1, r=8),
        write_adapter(where / "less", model, seed=2, r=2, target_modules=["q_proj", "up_proj"]),
        write_adapter(where / "more", model, seed=3, r=20),
    ]


def opened(model: Any, **options: Any) -> Decoder:
    return Decoder(recognise(model), **options)


def test_a_slot_used_again_keeps_nothing_of_its_former_adapter(
    model: Any, folders: list[Path]
) -> None:
    decoder = opened(model, slots=1)
    for folder in (folders[0], folders[1], folders[2], folders[1]):
        adapter = decoder.bank.load(folder)
        slot = decoder.bank.acquire(adapter)
        wanted = wanted_logits(adapted_model(model, folder), ROW)
        assert torch.allclose(logits_of(decoder, ROW, slot=slot), wanted, **CLOSE)
        decoder.bank.release(slot or 0)


def test_an_adapter_waits_while_every_slot_runs_others(model: Any, folders: list[Path]) -> None:
    bank = opened(model, slots=2).bank
    first, second, third = (bank.load(folder) for folder in folders)
    assert bank.acquire(first) == bank.acquire(first)
    other = bank.acquire(second)
    assert bank.acquire(third) is None
    bank.release(other or 0)
    assert bank.acquire(third) == other
    assert bank.acquire(second) is None


def test_the_least_recently_used_slot_is_taken(model: Any, folders: list[Path]) -> None:
    bank = opened(model, slots=2).bank
    first, second, third = (bank.load(folder) for folder in folders)
    slots = [bank.acquire(adapter) or 0 for adapter in (first, second)]
    for slot in slots:
        bank.release(slot)
    bank.release(bank.acquire(first) or 0)
    assert bank.acquire(third) == slots[1]


def test_a_rack_has_as_many_places_as_were_in_use_at_once(model: Any, tmp_path: Path) -> None:
    folders = [write_adapter(tmp_path / str(seed), model, seed=seed) for seed in range(7)]
    decoder = opened(model, slots=16)
    wanted = [wanted_logits(adapted_model(model, folder), ROW) for folder in folders]
    adapters = [decoder.bank.load(folder) for folder in folders]
    on_host = decoder.bank.resident_bytes
    assert decoder.bank.acquire(adapters[0]) == 0
    place = decoder.bank.resident_bytes - on_host
    decoder.bank.release(0)
    for _ in range(2):
        for adapter, logits in zip(adapters, wanted, strict=True):
            slot = decoder.bank.acquire(adapter)
            assert slot is not None
            assert torch.allclose(logits_of(decoder, ROW, slot=slot), logits, **CLOSE)
            decoder.bank.release(slot)
    assert decoder.bank.resident_bytes == on_host + 4 * place
    slots = [decoder.bank.acquire(adapter) for adapter in adapters]
    assert len(set(slots)) == 7
    assert decoder.bank.resident_bytes == on_host + 8 * place
    for slot, logits in zip(slots, wanted, strict=True):
        assert torch.allclose(logits_of(decoder, ROW, slot=slot), logits, **CLOSE)


def test_the_tensors_of_a_waiting_adapter_are_one_block(model: Any, folders: list[Path]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        pairs = read_adapter(folders[0], recognise(model).shape, dtype).pairs.values()
        tensors = [tensor for pair in pairs for tensor in pair]
        assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
        size = sum(tensor.nbytes for tensor in tensors)
        assert tensors[0].untyped_storage().nbytes() <= size + 128 * len(tensors)


def test_an_unloaded_adapter_leaves_its_slot_with_its_last_use(
    model: Any, folders: list[Path]
) -> None:
    bank = opened(model).bank
    adapter = bank.load(folders[0])
    slot = bank.acquire(adapter) or 0
    bank.unload(adapter)
    assert bank.resident_bytes > 0
    bank.release(slot)
    assert bank.resident_bytes == 0
    assert bank.acquire(adapter) is not None


def test_an_adapter_that_is_wanted_again_before_its_last_use_stays(
    model: Any, folders: list[Path]
) -> None:
    bank = opened(model).bank
    adapter = bank.load(folders[0])
    slot = bank.acquire(adapter) or 0
    bank.unload(adapter)
    assert bank.acquire(adapter) == slot
    for _ in range(2):
        bank.release(slot)
    assert bank.resident_bytes > 0


def test_the_host_drops_the_least_recently_used_and_reads_it_again(
    model: Any, folders: list[Path], tmp_path: Path
) -> None:
    copied = shutil.copytree(folders[0], tmp_path / "copy")
    sizes = [opened(model).bank.load(folder).size_bytes for folder in folders]
    bank = opened(model, host_bytes=sizes[1] + sizes[2]).bank
    first, pinned, last = bank.load(copied), bank.load(folders[1], pin=True), bank.load(folders[2])
    assert bank.resident_bytes == sizes[1] + sizes[2]
    slot = bank.acquire(first)
    assert slot is not None
    bank.release(slot)
    bank.unload(bank.load(copied))
    first = bank.load(copied)
    bank.load(folders[2])

    weights = load_file(copied / "adapter_model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()},
              copied / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(AdapterMismatch, match="changed since it was loaded"):
        bank.acquire(first)
    assert bank.acquire(pinned) is not None
    assert bank.acquire(last) is not None


def test_two_folders_with_one_content_share_a_slot(
    model: Any, folders: list[Path], tmp_path: Path
) -> None:
    bank = opened(model).bank
    same = shutil.copytree(folders[0], tmp_path / "same")
    one, other = bank.load(folders[0]), bank.load(same)
    assert one.digest == other.digest
    assert bank.acquire(one) == bank.acquire(other)


def test_an_overflow_in_one_adapter_reaches_no_other_row(
    model: Any, folders: list[Path], tmp_path: Path
) -> None:
    bad = shutil.copytree(folders[0], tmp_path / "bad")
    change_tensors(bad, lambda name, tensor: tensor * 1e37 if "lora_A" in name else tensor)
    decoder = opened(model)
    slots = [None, *(decoder.bank.acquire(decoder.bank.load(f)) for f in (bad, folders[0]))]
    rows = [decoder.kv.allocate(20) or 0 for _ in slots]
    found = decoder.step(
        [Segment(row, ROW, 0, slot, "all") for row, slot in zip(rows, slots, strict=True)]
    ).split(len(ROW))
    assert torch.allclose(found[0], wanted_logits(model, ROW), **CLOSE)
    assert not found[1].isfinite().all()
    wanted = wanted_logits(adapted_model(model, folders[0]), ROW)
    assert torch.allclose(found[2], wanted, **CLOSE)


def change_tensors(folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: change(name, tensor) for name, tensor in load_file(path).items()}, path)


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut_off(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def turn_a_bit_of_the_header(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


def set_nan(folder: Path) -> None:
    change_tensors(folder, lambda name, x: x * float("nan") if "layers.1.mlp.up" in name else x)


def leave_out(folder: Path, part: str) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: x for name, x in load_file(path).items() if part not in name}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, "is not as long as its header says"),
        (turn_a_bit_of_the_header, "safetensors header|the adapter has"),
        (set_nan, "NaN or infinity in model.layers.1.mlp.up_proj"),
        (lambda folder: leave_out(folder, "layers.1.mlp.up_proj.lora_B"), "has no lora_B of"),
        (lambda folder: leave_out(folder, "layers.1.mlp.up_proj"), "has no tensors for"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "No such file"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "LoRA config"),
        (lambda folder: change_tensors(folder, lambda _, x: x[:, :3].contiguous()), "needs"),
        (lambda folder: change_tensors(folder, lambda _, x: x[0, 0].clone()), "needs"),
    ],
    ids=[
        *("truncated", "header", "nan", "no B", "no tensors", "no file", "config", "wrong shape"),
        "numbers",
    ],
)
def test_a_damaged_adapter_is_refused_and_the_others_go_on(
    damage: Callable[[Path], Any],
    message: str,
    model: Any,
    folders: list[Path],
    tmp_path: Path,
) -> None:
    decoder = opened(model)
    slot = decoder.bank.acquire(decoder.bank.load(folders[1]))
    bad = shutil.copytree(folders[0], tmp_path / "bad")
    damage(bad)
    with pytest.raises(ModelyardError, match=message) as caught:
        decoder.bank.load(bad)
    assert str(bad) in str(caught.value.where)
    wanted = wanted_logits(adapted_model(model, folders[1]), ROW)
    assert torch.allclose(logits_of(decoder, ROW, slot=slot), wanted, **CLOSE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": ["q_proj"]}, "which its config does not name"),
        ({"target_modules": []}, "which its config does not name"),
        ({"target_modules": ["proj"]}, "which its config does not name"),
        ({"exclude_modules": ["q_proj"]}, "has model.layers.0.self_attn.q_proj, which its config"),
        ({"layers_to_transform": [0]}, "has model.layers.1"),
        ({"r": 8}, "says rank 8 for .*, and its tensors have 4"),
        ({"rank_pattern": {"q_proj": 2}}, "says rank 2 for .*q_proj"),
        ({"r": -4}, "a rank must be 1 or more, not -4"),
        ({"rank_pattern": {"q_proj": 0}}, "a rank must be 1 or more, not 0"),
        ({"rank_pattern": {"q_proj": -4}, "use_rslora": True}, "a rank must be 1 or more"),
    ],
    ids=str,
)
def test_an_adapter_whose_config_is_of_other_tensors_is_refused(
    changes: dict[str, Any], message: str, model: Any, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path, model)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(AdapterMismatch, match=message):
        opened(model).bank.load(folder)


@pytest.mark.parametrize("module", ["0.mlp.q_proj", "00.self_attn.q_proj", "٠.self_attn.q_proj"])
def test_a_module_by_another_name_is_not_taken_for_one_of_the_base(
    module: str, model: Any, tmp_path: Path
) -> None:
    path = write_adapter(tmp_path, model) / "adapter_model.safetensors"
    tensors = load_file(path)
    renamed = {name.replace("0.self_attn.q_proj", module): x for name, x in tensors.items()}
    save_file(renamed, path)
    with pytest.raises(AdapterNotCarried, match=module):
        opened(model).bank.load(tmp_path)


def test_an_adapter_of_another_base_is_refused(model: Any, tmp_path: Path) -> None:
    wider = tiny_model(FAMILIES["llama, three groups"])
    with pytest.raises(AdapterMismatch, match=r"this base needs \[32, r\] x \[r, 32\]"):
        opened(model).bank.load(write_adapter(tmp_path, wider, target_modules=["q_proj"]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "is DoRA"),
        ({"target_modules": ["q_proj", "lm_head"]}, "changes lm_head"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "lora_embedding_A"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_more_than_lora_is_refused_by_name(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    model = tiny_model(FAMILIES["qwen2"])
    folder = write_adapter(tmp_path, model, **options)
    with pytest.raises(AdapterNotCarried, match=reason):
        opened(model).bank.load(folder)
