"""Adapters that store modules whole: imported and merged, or refused with a way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelyard.adapters.diff import diff_versions
from modelyard.adapters.export import require_format
from modelyard.adapters.import_ import plan_import
from modelyard.adapters.lora import AdapterMismatch, OtherKindOfAdapter, open_lora
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.inference.built_in import BUILT_IN
from modelyard.inference.merge import export_merged
from modelyard.weights.local import LocalBase

WEIGHTS = "adapter_model.safetensors"
O0 = "model.layers.0.self_attn.o_proj.weight"


@pytest.fixture(scope="module")
def stores_modules(save_adapter: Callable[..., Path]) -> Path:
    folder = save_adapter(r=4, target_modules=["q_proj"], modules_to_save=["o_proj"])
    tensors = load_file(folder / WEIGHTS)
    torch.manual_seed(1)
    for name in tensors:
        if "o_proj" in name:
            tensors[name] = torch.randn_like(tensors[name].float()).to(tensors[name].dtype)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def test_they_are_imported_and_merged(
    project: Project,
    adopt: Callable[..., AdapterVersion],
    stores_modules: Path,
    tiny_base: LocalBase,
    tmp_path: Path,
) -> None:
    version = adopt(stores_modules)
    assert verify_version(project, version, tiny_base) == []
    done = export_merged(
        project,
        version,
        tiny_base,
        tmp_path / "out",
        BUILT_IN[:2],
        stored_as="fp32",
        progress=Silent(),
    )
    assert done.facts.parity == 1.0
    merged = load_file(tmp_path / "out" / "model.safetensors")[O0]
    stored = load_file(stores_modules / WEIGHTS)[f"base_model.model.{O0}"]
    assert torch.equal(merged, stored.float())
    require_format(version, "peft")
    with pytest.raises(AdapterMismatch, match="which vLLM does not load"):
        require_format(version, "vllm")
    with pytest.raises(OtherKindOfAdapter, match="uses modules_to_save"):
        open_lora(version.path)
    assert "uses modules_to_save" in str(diff_versions(project, version, version).unmeasured)


def spoil(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(f"base_model.model.{O0}"), "is absent"),
        (lambda tensors: tensors[f"base_model.model.{O0}"].fill_(float("nan")), "holds NaN"),
        (
            lambda tensors: tensors.update({f"base_model.model.{O0}": torch.ones(3, 3)}),
            "is [3, 3], and [64, 64] in the base",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    stores_modules: Path,
    tiny_base: LocalBase,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], object],
    said: str,
) -> None:
    for name in ("adapter_config.json", WEIGHTS):
        (tmp_path / name).write_bytes((stores_modules / name).read_bytes())
    spoil(tmp_path, change)
    with pytest.raises(AdapterMismatch) as raised:
        plan_import(tmp_path, tiny_base)
    assert said in raised.value.problems[0].message


def test_a_head_that_the_base_shares_with_its_embedding_is_refused_with_a_way_out(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    config = json.loads((own_adapter / "adapter_config.json").read_text())
    text = json.dumps({**config, "modules_to_save": ["lm_head"]})
    (own_adapter / "adapter_config.json").write_text(text)
    head = {"base_model.model.lm_head.weight": torch.ones(400, 64)}
    spoil(own_adapter, lambda tensors: tensors.update(head))
    with pytest.raises(AdapterMismatch) as raised:
        plan_import(own_adapter, tiny_base)
    assert "no parameter of its own" in raised.value.problems[0].message
    assert "merge_and_unload" in str(raised.value.hint)
