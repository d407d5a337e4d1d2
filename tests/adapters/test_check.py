from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.lora import AdapterMismatch
from modelyard.adapters.manifest import DamagedVersion, Manifest
from modelyard.adapters.module_patterns import why_not_usable
from modelyard.adapters.verify import check_adapter_files
from modelyard.adapters.versions import register_version
from modelyard.core.layout import Project
from modelyard.records.provenance import Origin
from modelyard.weights.local import LocalBase

WEIGHTS = "adapter_model.safetensors"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def problems_of(folder: Path, base: LocalBase) -> list[str]:
    with pytest.raises(AdapterMismatch) as caught:
        check_adapter_files(folder, base)
    assert caught.value.exit_code == 1
    return [str(problem) for problem in caught.value.problems]


def cause_of(folder: Path, base: LocalBase) -> str:
    """The one reason why an adapter does not fit, of which no tensor is named."""
    with pytest.raises(AdapterMismatch) as caught:
        check_adapter_files(folder, base)
    assert caught.value.problems == ()
    assert caught.value.hint
    return caught.value.message


def change_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": r".*\.1\.mlp\..*_proj"},
        {"use_dora": True, "use_rslora": True},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"},
        {"exclude_modules": ["down_proj"]},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 4, "down_proj": 2}},
        {"r": 1},
    ],
)
def test_what_peft_saves_fits_the_base_it_was_made_on(
    save_adapter: Callable[..., Path], tiny_base: LocalBase, options: dict[str, Any]
) -> None:
    check_adapter_files(save_adapter(**options), tiny_base)


def test_a_bf16_adapter_fits_too(own_adapter: Path, tiny_base: LocalBase) -> None:
    import torch

    change_weights(
        own_adapter, lambda t: t.update({name: v.to(torch.bfloat16) for name, v in t.items()})
    )
    check_adapter_files(own_adapter, tiny_base)


def test_a_registered_version_is_held_to_the_base_in_its_manifest(
    bare_project: Project, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    from adapter_samples import facts

    def fill(staged: Path, manifest: Manifest) -> None:
        shutil.copytree(saved_adapter, staged, dirs_exist_ok=True)
        (staged / "TRAINING_INFO.md").write_text("---\nadapter: demo\n---\n")

    origin = Origin(name="tiny", fingerprint=tiny_base.fingerprint)
    version = register_version(bare_project, "demo", fill=fill, provenance=facts(base=origin))
    check_adapter_files(version.path, tiny_base)

    other = dataclasses.replace(tiny_base, name="other", fingerprint="sha256:0000")
    with pytest.raises(AdapterMismatch, match=r"was trained on tiny .* not on other") as caught:
        check_adapter_files(version.path, other)
    assert caught.value.hint == "use it with `--base-model tiny`"

    changed = dataclasses.replace(tiny_base, fingerprint="sha256:0000")
    with pytest.raises(AdapterMismatch, match="was trained on tiny"):
        check_adapter_files(version.path, changed)

    (version.path / "MANIFEST.json").chmod(0o600)
    (version.path / "MANIFEST.json").write_text("{}")
    with pytest.raises(DamagedVersion):
        check_adapter_files(version.path, tiny_base)


@pytest.mark.parametrize("name", ["adapter_model.bin", "inner/optimizer.pt", "x.pkl"])
def test_a_pickle_is_refused_before_anything_is_read(
    own_adapter: Path, tiny_base: LocalBase, name: str
) -> None:
    (own_adapter / name).parent.mkdir(exist_ok=True)
    (own_adapter / name).write_bytes(b"\x80\x04")
    (problem,) = problems_of(own_adapter, tiny_base)
    assert problem == f"{name}: is a pickle, which can run any code when it is loaded"


def test_a_link_among_the_files_is_refused(own_adapter: Path, tiny_base: LocalBase) -> None:
    (own_adapter / WEIGHTS).rename(own_adapter / "elsewhere")
    (own_adapter / WEIGHTS).symlink_to("elsewhere")
    assert problems_of(own_adapter, tiny_base) == [f"{WEIGHTS}: is a link"]


def test_missing_files_are_named_together(tmp_path: Path, tiny_base: LocalBase) -> None:
    (tmp_path / "empty").mkdir()
    assert problems_of(tmp_path / "empty", tiny_base) == [
        "adapter_config.json: is missing",
        "adapter_model.safetensors: is missing",
    ]


@pytest.mark.parametrize(
    "config",
    ["", "[]", "{}", '{"peft_type": "LORA", "r": "x", "target_modules": []}', '{"r": 8}', "\x00",
     '{"peft_type": "LORA", "r": 8, "target_modules": "("}',
     '{"peft_type": "LORA", "r": 8, "target_modules": null}'],
)  # fmt: skip
def test_a_config_that_cannot_be_read_is_refused(
    own_adapter: Path, tiny_base: LocalBase, config: str
) -> None:
    (own_adapter / "adapter_config.json").write_text(config)
    with pytest.raises(AdapterMismatch, match=r"adapter_config\.json: is not a readable LoRA"):
        check_adapter_files(own_adapter, tiny_base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "is of the kind IA3"),
        ({"layer_replication": [[0, 1]]}, "uses layer_replication"),
        ({"modules_to_save": ["score"]}, "score: is named by modules_to_save, and the base has no"),
        ({"modules_to_save": ["lm_head"]}, "lm_head: is named by modules_to_save"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    own_adapter: Path, tiny_base: LocalBase, changes: dict[str, Any], message: str
) -> None:
    change_config(own_adapter, **changes)
    with pytest.raises(AdapterMismatch) as caught:
        check_adapter_files(own_adapter, tiny_base)
    assert any(message in str(problem) for problem in caught.value.diagnostics())
    assert "LoRA and DoRA" in str(caught.value.hint)


def test_a_truncated_file_is_refused(own_adapter: Path, tiny_base: LocalBase) -> None:
    whole = (own_adapter / WEIGHTS).read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        (own_adapter / WEIGHTS).write_bytes(whole[:size])
        with pytest.raises(AdapterMismatch):
            check_adapter_files(own_adapter, tiny_base)


def test_a_pointer_of_git_lfs_is_named(own_adapter: Path, tiny_base: LocalBase) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    (own_adapter / WEIGHTS).write_text(pointer)
    with pytest.raises(AdapterMismatch, match="is a pointer of Git LFS") as caught:
        check_adapter_files(own_adapter, tiny_base)
    assert "git lfs pull" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *(("lora_alpha", "16", "a number"), ("r", "8", "a number"), ("r", True, "a number")),
        *(("use_dora", "false", "true or false"), ("use_rslora", 0, "true or false")),
        *(("base_model_name_or_path", 5, "text"), ("revision", ["main"], "text")),
    ],
)
def test_a_setting_of_another_type_is_refused_as_peft_cannot_load_it(
    own_adapter: Path, tiny_base: LocalBase, name: str, value: object, wanted: str
) -> None:
    change_config(own_adapter, **{name: value})
    message = re.escape(f"LoRA config: {name} must be {wanted}, not {json.dumps(value)}")
    with pytest.raises(AdapterMismatch, match=message):
        check_adapter_files(own_adapter, tiny_base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers_to_transform": [0], "layers_pattern": "("}, "layers_pattern must be names"),
        ({"layers_to_transform": [0], "layers_pattern": "(x)|layers"}, "must be names"),
        ({"exclude_modules": "("}, "'(' is no regular expression"),
        ({"rank_pattern": {".*": 8, "(": 4}}, "'(' is no regular expression"),
        ({"alpha_pattern": {"": 8, "[": 4}}, "'[' is no regular expression"),
    ],
)
def test_what_is_no_pattern_is_refused(
    own_adapter: Path, tiny_base: LocalBase, changes: dict[str, Any], message: str
) -> None:
    change_config(own_adapter, **changes)
    with pytest.raises(AdapterMismatch, match=re.escape(message)):
        check_adapter_files(own_adapter, tiny_base)


@pytest.mark.parametrize("name", ["target_modules", "exclude_modules", "rank_pattern"])
@pytest.mark.parametrize(
    "endless",
    [
        r"(\w+\.?)+q_projX|.*q_proj",
        r"([\])]|a|aa){2,}",
        "(?x: (a|aa) + )",
        r"(a|aa)(?#)*",
        r".*.*.*.*.*.*q_projX",
    ],
)
def test_a_pattern_that_may_never_end_is_refused(
    own_adapter: Path, tiny_base: LocalBase, name: str, endless: str
) -> None:
    change_config(own_adapter, **{name: {endless: 4} if name == "rank_pattern" else endless})
    with pytest.raises(AdapterMismatch, match=r"may never end|has 6 repetitions"):
        check_adapter_files(own_adapter, tiny_base)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)|(?:\bmodel\.layers"
        r"\.[\d]{1,}\.(?:self_attn|attention|mlp)\.(?:(?:q_proj|v_proj)))",
        r"^(?!.*patch_embed)(?:.*\.)?(?:[qv]_proj|[(+]*x)",
        "all-linear",
    ],
)
def test_a_pattern_that_others_write_can_be_used(pattern: str) -> None:
    assert why_not_usable(pattern) is None


def test_a_missing_tensor_is_named_where_peft_only_warns(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    change_weights(own_adapter, lambda tensors: tensors.pop(f"{Q0}.lora_B.weight"))
    assert problems_of(own_adapter, tiny_base) == [
        "model.layers.0.self_attn.q_proj: lora_B is absent, and should be [64, 8]"
    ]


def test_a_missing_module_is_named(own_adapter: Path, tiny_base: LocalBase) -> None:
    def drop(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if ".layers.1.mlp.up_proj." in name]:
            del tensors[name]

    change_weights(own_adapter, drop)
    assert problems_of(own_adapter, tiny_base) == [
        "model.layers.1.mlp.up_proj: lora_A is absent, and should be [8, 64]",
        "model.layers.1.mlp.up_proj: lora_B is absent, and should be [128, 8]",
    ]


def test_a_module_the_base_does_not_have_is_named(own_adapter: Path, tiny_base: LocalBase) -> None:
    def add(tensors: dict[str, Any]) -> None:
        for part in ("lora_A", "lora_B"):
            tensor = tensors[f"{Q0}.{part}.weight"].clone()
            tensors[f"{Q0.replace('.0.', '.7.')}.{part}.weight"] = tensor

    change_weights(own_adapter, add)
    assert problems_of(own_adapter, tiny_base) == [
        "model.layers.7.self_attn.q_proj: is no linear module of the base"
    ]


def test_a_module_that_peft_would_silently_leave_out_is_named(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    change_config(own_adapter, target_modules=["q_proj"])
    problems = problems_of(own_adapter, tiny_base)
    assert len(problems) == 12
    assert all("is not among the config's target_modules" in problem for problem in problems)


def test_another_shape_or_rank_is_named(own_adapter: Path, tiny_base: LocalBase) -> None:
    import torch

    change_weights(
        own_adapter, lambda tensors: tensors.update({f"{Q0}.lora_A.weight": torch.ones(8, 63)})
    )
    assert problems_of(own_adapter, tiny_base) == [
        "model.layers.0.self_attn.q_proj: lora_A is [8, 63], and should be [8, 64]"
    ]
    change_config(own_adapter, r=4)
    assert len(problems_of(own_adapter, tiny_base)) == 2


def test_an_adapter_for_a_base_of_another_size_is_refused(
    save_adapter: Callable[..., Path], tiny_base: LocalBase, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "larger")
    larger = dataclasses.replace(tiny_base, name="larger", path=tmp_path / "larger")
    cause = cause_of(save_adapter(target_modules=["q_proj", "up_proj"]), larger)
    assert cause == (
        "does not fit larger: it is made for a base with a hidden size of 64 and 2 layers, and "
        "larger has 32 and 3"
    )


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return rename


def emptied(tensors: dict[str, Any]) -> None:
    for name in tensors:
        tensors[name] = tensors[name].new_empty(0)


def as_double(tensors: dict[str, Any]) -> None:
    for name in tensors:
        tensors[name] = tensors[name].double()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.clear(), "holds no tensors: it was probably saved under DeepSpe"),
        (emptied, "holds only empty tensors: it was probably saved under DeepSpeed ZeRO-3"),
        (as_double, "all 28 tensors are of type F64, which no adapter is"),
        (renamed("base_model.model.", ""), "none of its 28 tensors is named as a part of a LoRA"),
        (renamed(".weight", ".default.weight"), "none of its 28 tensors is named as a part of"),
        (renamed("base_model.", "module.base_model."), "none of its 28 tensors is named as a pa"),
        (renamed("model.layers", "transformer.h"), "none of its 14 modules, such as transformer.h"),
        (
            renamed(".layers.1.", ".layers.5."),
            "is made for a base with 6 layers, and tiny has 2",
        ),
    ],
)
def test_what_one_mistake_did_to_every_tensor_is_said_once(
    own_adapter: Path,
    tiny_base: LocalBase,
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    change_weights(own_adapter, change)
    assert said in cause_of(own_adapter, tiny_base)


def test_a_dora_adapter_without_its_magnitudes_is_refused(
    save_adapter: Callable[..., Path], tiny_base: LocalBase
) -> None:
    folder = save_adapter(use_dora=True, target_modules=["q_proj"])
    change_weights(folder, lambda tensors: tensors.pop(f"{Q0}.lora_magnitude_vector"))
    assert problems_of(folder, tiny_base) == [
        "model.layers.0.self_attn.q_proj: lora_magnitude_vector is absent, and should be [64]"
    ]
    change_config(folder, use_dora=False)
    assert problems_of(folder, tiny_base) == [
        "model.layers.1.self_attn.q_proj: lora_magnitude_vector is [64], and should be absent"
    ]


@pytest.mark.parametrize(
    "name",
    ["base_model.model.lm_head.base_layer.weight", f"{Q0}.lora_A", f"{Q0}.lora_B.bias", "weight",
     f"{Q0}.lora_magnitude_vector.weight", f"{Q0}.lora_embedding_A"],
)  # fmt: skip
def test_a_tensor_that_is_no_part_of_a_lora_is_named(
    own_adapter: Path, tiny_base: LocalBase, name: str
) -> None:
    import torch

    change_weights(own_adapter, lambda tensors: tensors.update({name: torch.ones(2, 2)}))
    assert problems_of(own_adapter, tiny_base) == [
        f"{name}: is no part of a LoRA or DoRA adapter of linear layers"
    ]


def test_a_name_that_no_module_has_is_no_part_of_an_adapter(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    change_weights(own_adapter, renamed("layers.1.", f"layers.{'1' * 5000}."))
    assert any("is no part of" in problem for problem in problems_of(own_adapter, tiny_base))


def test_whole_numbers_are_no_weights(own_adapter: Path, tiny_base: LocalBase) -> None:
    import torch

    name = f"{Q0}.lora_A.weight"
    change_weights(own_adapter, lambda t: t.update({name: t[name].to(torch.int8)}))
    assert f"{name}: is of type I8, which no adapter is" in problems_of(own_adapter, tiny_base)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_an_adapter_whose_b_is_all_zero_is_refused(
    own_adapter: Path, tiny_base: LocalBase, zero: float
) -> None:
    def empty(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.fill_(zero)

    change_weights(own_adapter, empty)
    assert problems_of(own_adapter, tiny_base) == ["every lora_B is zero, so it changes nothing"]


def test_one_number_in_one_b_is_enough(own_adapter: Path, tiny_base: LocalBase) -> None:
    def nearly_empty(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.zero_()
        tensors[f"{Q0}.lora_B.weight"][-1, -1] = 1e-30

    change_weights(own_adapter, nearly_empty)
    check_adapter_files(own_adapter, tiny_base)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_that_are_none_are_refused(
    own_adapter: Path, tiny_base: LocalBase, kind: str, value: float
) -> None:
    import torch

    def spoil(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(getattr(torch, kind))
        tensors[f"{Q0}.lora_A.weight"][0, 0] = value

    change_weights(own_adapter, spoil)
    assert problems_of(own_adapter, tiny_base) == [
        "model.layers.0.self_attn.q_proj: lora_A holds NaN or infinity"
    ]
