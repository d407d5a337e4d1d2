from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapter_samples import BETTER, facts, fill_with
from modelyard.adapters.diff import change_norm, diff_versions
from modelyard.adapters.lora import LoraModule, open_lora
from modelyard.adapters.manifest import Manifest
from modelyard.adapters.versions import AdapterVersion, register_version
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation
from modelyard.records.provenance import Origin
from modelyard.weights.local import LocalBase

Adopt = Callable[..., AdapterVersion]
Q0 = "model.layers.0.self_attn.q_proj"


def random_module(rank: int, scale: float, seed: int) -> LoraModule:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=(rank, 40)).astype(np.float32)
    b = draw.normal(size=(24, rank)).astype(np.float32)
    return LoraModule(a, b, scale)


def dense(module: LoraModule | None) -> Any:
    return 0.0 if module is None else module.scale * (module.b.astype(float) @ module.a)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (random_module(4, 2.0, 1), random_module(4, 2.0, 2)),
        (random_module(1, 0.5, 1), random_module(16, 3.0, 2)),
        (random_module(4, 2.0, 1), random_module(4, 1.0, 1)),
        (None, random_module(8, 2.0, 2)),
        (random_module(8, 2.0, 1), None),
    ],
)
def test_the_norm_through_gram_matrices_is_that_of_the_whole_product(
    before: LoraModule | None, after: LoraModule | None
) -> None:
    wanted = np.linalg.norm(dense(after) - dense(before))
    assert change_norm(before, after) == pytest.approx(wanted, rel=1e-9)


def test_a_module_that_did_not_change_has_no_norm_at_all() -> None:
    assert change_norm(random_module(4, 2.0, 1), random_module(4, 2.0, 1)) == 0.0
    assert change_norm(None, None) == 0.0


def test_a_tiny_change_of_a_large_weight_is_still_measured() -> None:
    one = random_module(4, 2.0, 1)
    other = LoraModule(one.a, one.b + np.float32(1e-4), 2.0)
    wanted = np.linalg.norm(dense(other) - dense(one))
    assert change_norm(one, other) == pytest.approx(wanted, rel=1e-3)


def test_versions_of_different_ranks_and_targets_are_compared(
    adopt: Adopt, project: Project, save_adapter: Callable[..., Path], tiny_base: LocalBase
) -> None:
    one = adopt(save_adapter(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    other = adopt(save_adapter(r=8, use_rslora=True, target_modules=["q_proj", "o_proj"]))
    found = diff_versions(project, one, other, tiny_base)
    weights = load_file(tiny_base.path / "model.safetensors")
    sides = [open_lora(version.path) for version in (one, other)]
    names = sorted(sides[0].keys() | sides[1].keys())
    assert sorted(change.module for change in found.modules) == names
    assert len(names) == 6
    for change in found.modules:
        before, after = (dense(side.get(change.module)) for side in sides)
        wanted = np.linalg.norm(after - before)
        assert change.norm == pytest.approx(wanted, rel=1e-6)
        base = float(torch.linalg.norm(weights[f"{change.module}.weight"].float()))
        assert change.share == pytest.approx(wanted / base, rel=1e-4)
    norms = [change.norm for change in found.modules]
    assert norms == sorted(norms, reverse=True)
    assert found.norm == pytest.approx(np.sqrt(sum(norm**2 for norm in norms)))
    names_of_changes = [change.name for change in found.spec]
    assert names_of_changes == ["lora.rank", "lora.alpha", "lora.targets", "lora.rslora"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_and_not_compared(
    adopt: Adopt, project: Project, save_adapter: Callable[..., Path], number: float
) -> None:
    one, other = adopt(save_adapter(r=4)), adopt(save_adapter(r=8))
    path = other.path / "adapter_model.safetensors"
    path.chmod(0o600)  # somebody damaged it: a version with such weights is not registered
    tensors = load_file(path)
    next(tensor for name, tensor in tensors.items() if Q0 in name and "lora_B" in name)[0] = number
    save_file(tensors, path)
    found = diff_versions(project, one, other)
    assert found.unmeasured == f"demo@2 has a number that is not finite in {Q0}"
    assert (found.modules, found.norm) == ((), None)


# PEFT 0.21 uses a name that transformers 5.23 has deprecated.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_the_scale_and_product_are_those_that_peft_uses(
    save_adapter: Callable[..., Path], tiny_base: LocalBase
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"layers.0.self_attn.q_proj": 5},
        "use_rslora": True,
    }
    folder = save_adapter(**options)
    base = AutoModelForCausalLM.from_pretrained(tiny_base.path, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder)
    layers = dict(model.base_model.model.named_modules())
    compared = 0
    for name, module in open_lora(folder).items():
        wanted = layers[name].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(dense(module), wanted, rtol=1e-4, atol=1e-5)
        compared += 1
    assert compared == 14


def test_a_bf16_adapter_is_read_to_the_bit(own_adapter: Path) -> None:
    path = own_adapter / "adapter_model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    for name, module in open_lora(own_adapter).items():
        saved = tensors[f"base_model.model.{name}.lora_B.weight"].float().numpy()
        assert np.array_equal(module.b, saved)


def test_settings_data_packages_and_figures_that_differ_are_named(
    adopt: Adopt, project: Project, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    import shutil

    def register(run_key: str, evaluation: Evaluation, **changes: Any) -> AdapterVersion:
        def fill(staged: Path, manifest: Manifest) -> None:
            fill_with(evaluation)(staged, manifest)
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copyfile(saved_adapter / name, staged / name)

        return register_version(project, "demo", fill=fill, provenance=facts(run_key, **changes))

    one = register("one", BETTER)
    worse = replace(BETTER, tuned=replace(BETTER.tuned, loss=2.5))
    other = register(
        "two",
        worse,
        spec={"lora": {"rank": 16}, "seed": 1},
        data=Origin(name="techcorp", fingerprint="sha256:new"),
        packages={"peft": "0.22.0"},
        parent="demo@1",
    )
    found = diff_versions(project, one, other, tiny_base)
    shown = {
        (change.name, str(change.before), str(change.after))
        for group in (found.spec, found.origin, found.packages, found.evaluation)
        for change in group
    }
    assert shown == {
        ("lora.rank", "8", "16"),
        ("seed", "None", "1"),
        ("data.fingerprint", "sha256:data", "sha256:new"),
        ("parent", "None", "demo@1"),
        ("peft", "0.21.2", "0.22.0"),
        ("tuned.loss", "1.2", "2.5"),
    }
    assert found.modules == ()
    assert found.norm == 0.0


def test_what_cannot_be_compared_says_why(
    adopt: Adopt, project: Project, save_adapter: Callable[..., Path], saved_adapter: Path
) -> None:
    plain = adopt(saved_adapter)
    dora = adopt(save_adapter(use_dora=True))
    found = diff_versions(project, plain, dora)
    assert found.modules == ()
    assert found.unmeasured == "demo@2 is a DoRA: its change is no product of two matrices"
