from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from killed import interruptions
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.lora import AdapterMismatch
from modelyard.adapters.manifest import list_files
from modelyard.adapters.tokenizer import template_hash
from modelyard.adapters.training_info import load_training_info
from modelyard.adapters.verify import check_adapter_files, verify_version
from modelyard.adapters.versions import (
    AdapterVersion,
    list_adapters,
    list_versions,
    version_numbers,
    version_of_run,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.settings.cards import load_card
from modelyard.weights.local import LocalBase

Adopt = Callable[..., AdapterVersion]
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def test_what_plain_peft_saved_becomes_a_version(
    project: Project, adopt: Adopt, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    version = adopt(saved_adapter, org="techcorp")
    assert version.name == "demo@1"
    assert sorted(version.manifest.files) == [
        "TRAINING_INFO.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        *sorted(TOKENIZER),
    ]
    weights = "adapter_model.safetensors"
    assert (version.path / weights).read_bytes() == (saved_adapter / weights).read_bytes()
    assert verify_version(project, version, tiny_base) == []
    check_adapter_files(version.path, tiny_base)
    assert {stat.S_IMODE(path.stat().st_mode) for path in version.path.iterdir()} == {0o400}


def test_what_the_files_do_not_say_is_recorded_as_unknown(
    adopt: Adopt, saved_adapter: Path
) -> None:
    version = adopt(saved_adapter)
    manifest = version.manifest
    assert (manifest.data.name, manifest.data.fingerprint) == ("unknown", "unknown")
    assert (manifest.machine, manifest.code_commit, manifest.parent) == ({}, None, None)
    assert list(manifest.packages) == ["peft"]
    assert manifest.spec["lora"]["rank"] == 8
    assert "model.layers.1.mlp.up_proj" in manifest.spec["lora"]["targets"]
    assert load_training_info(version.path).evaluation is None
    card = load_card(version.path / "TRAINING_INFO.md")
    assert card.front.value["trained_at"] is None
    assert card.front.value["dataset"] == {
        "name": "unknown",
        "fingerprint": "unknown",
        "rows": None,
    }
    assert "are unknown" in card.body


def test_the_config_names_the_base_and_no_path_of_another_machine(
    adopt: Adopt, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    name = "adapter_config.json"
    before = json.loads((saved_adapter / name).read_text())
    assert before["base_model_name_or_path"] == str(tiny_base.path)
    after = json.loads((adopt(saved_adapter).path / name).read_text())
    assert after == {**before, "base_model_name_or_path": "tiny"}


def test_the_same_bytes_again_give_the_same_version(
    project: Project, adopt: Adopt, saved_adapter: Path, own_adapter: Path, tiny_base: LocalBase
) -> None:
    first = adopt(saved_adapter)
    assert adopt(own_adapter) == first
    assert version_of_run(project, "demo", plan_import(own_adapter, tiny_base).run_key) == first
    assert version_numbers(project, "demo") == [1]
    assert adopt(saved_adapter, "other").name == "other@1"

    config = json.loads((own_adapter / "adapter_config.json").read_text())
    config["lora_alpha"] = 99
    (own_adapter / "adapter_config.json").write_text(json.dumps(config))
    assert adopt(own_adapter).name == "demo@2"


def test_the_tokenizer_comes_from_the_base_when_the_folder_has_none(
    project: Project, adopt: Adopt, own_adapter: Path, tiny_base: LocalBase
) -> None:
    for name in TOKENIZER:
        (own_adapter / name).unlink()
    plan = plan_import(own_adapter, tiny_base)
    assert (plan.tokenizer_from, plan.template_from) == ("tiny", "tiny")
    version = adopt(own_adapter)
    for name in TOKENIZER:
        assert (version.path / name).read_bytes() == (tiny_base.path / name).read_bytes()
    assert verify_version(project, version, tiny_base) == []


def test_a_chat_template_of_its_own_is_kept(
    project: Project, adopt: Adopt, own_adapter: Path, tiny_base: LocalBase
) -> None:
    text = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (own_adapter / "chat_template.jinja").write_text(text)
    (own_adapter / "tokenizer.json").unlink()
    plan = plan_import(own_adapter, tiny_base)
    assert (plan.tokenizer_from, plan.template_from) == ("tiny", "the folder")
    version = adopt(own_adapter)
    assert (version.path / "chat_template.jinja").read_text() == text
    assert version.manifest.template_hash != template_hash(tiny_base.path)
    assert verify_version(project, version, tiny_base) == []


def test_a_template_inside_the_tokenizers_config_is_found_there(
    project: Project, adopt: Adopt, own_adapter: Path, tiny_base: LocalBase
) -> None:
    path = own_adapter / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = (own_adapter / "chat_template.jinja").read_text()
    path.write_text(json.dumps(config))
    (own_adapter / "chat_template.jinja").unlink()
    version = adopt(own_adapter)
    assert "chat_template.jinja" not in version.manifest.files
    assert version.manifest.template_hash == template_hash(tiny_base.path)
    assert verify_version(project, version, tiny_base) == []


def test_pickled_weights_are_refused_with_the_way_to_convert_them(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    import subprocess
    import sys

    import torch
    from safetensors.torch import load_file

    weights = own_adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    torch.save(tensors, own_adapter / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(AdapterMismatch, match="a pickle, which can run any code") as caught:
        plan_import(own_adapter, tiny_base)
    assert caught.value.exit_code == 1
    hint = str(caught.value.hint)
    script = hint[hint.index('"') + 1 : hint.rindex('"')]
    subprocess.run([sys.executable, "-c", script], cwd=own_adapter, check=True)
    assert load_file(weights).keys() == tensors.keys()
    assert "adapter_model.bin" in plan_import(own_adapter, tiny_base).left_behind


def test_what_is_no_part_of_an_adapter_is_left_behind(
    adopt: Adopt, own_adapter: Path, tiny_base: LocalBase
) -> None:
    (own_adapter / "training_args.bin").write_bytes(b"\x80\x04")
    (own_adapter / "checkpoint-10").mkdir()
    (own_adapter / "checkpoint-10" / "optimizer.pt").write_bytes(b"\x80\x04")
    plan = plan_import(own_adapter, tiny_base)
    assert {"training_args.bin", "checkpoint-10", "README.md"} <= set(plan.left_behind)
    version = adopt(own_adapter)
    assert not {"training_args.bin", "checkpoint-10", "README.md"} & set(version.manifest.files)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", *TOKENIZER])
def test_a_link_among_the_files_is_refused(
    own_adapter: Path, tiny_base: LocalBase, tmp_path: Path, name: str
) -> None:
    (own_adapter / name).rename(tmp_path / "elsewhere")
    (own_adapter / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterMismatch, match=f"{name}: is a link") as caught:
        plan_import(own_adapter, tiny_base)
    assert "cp -rL" in str(caught.value.hint)


def test_a_link_put_there_after_the_check_is_not_followed(
    project: Project, own_adapter: Path, tiny_base: LocalBase, tmp_path: Path
) -> None:
    plan = plan_import(own_adapter, tiny_base)
    (own_adapter / "tokenizer.json").rename(tmp_path / "elsewhere")
    (own_adapter / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterMismatch, match=r"tokenizer\.json: became a link"):
        import_adapter(project, "demo", plan)
    assert list_adapters(project) == []


@pytest.mark.parametrize("change", ["append", "remove"])
def test_a_file_that_changes_after_the_check_is_not_imported(
    project: Project, own_adapter: Path, tiny_base: LocalBase, change: str
) -> None:
    plan = plan_import(own_adapter, tiny_base)
    path = own_adapter / "tokenizer.json"
    if change == "append":
        path.write_text(path.read_text() + " ")
    else:
        path.unlink()
    with pytest.raises(AdapterMismatch, match=r"changed while it was|is gone since"):
        import_adapter(project, "demo", plan)
    assert list_adapters(project) == []
    assert version_numbers(project, "demo") == []


def test_an_adapter_of_another_shape_is_refused(own_adapter: Path, tiny_base: LocalBase) -> None:
    path = own_adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": 4}))
    with pytest.raises(AdapterMismatch, match="does not fit tiny: one of its parts") as caught:
        plan_import(own_adapter, tiny_base)
    [problem] = caught.value.problems
    assert str(problem) == "adapter_config.json: says rank 4, and the tensors have rank 8"


def test_a_foreign_tokenizer_is_refused(own_adapter: Path, tiny_base: LocalBase) -> None:
    path = own_adapter / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["vocab"]["a"] = 9999
    path.write_text(json.dumps(values))
    with pytest.raises(ModelyardError, match="gives the token 'a' the id 9999"):
        plan_import(own_adapter, tiny_base)


def test_a_folder_that_is_none_or_holds_none_says_so(
    own_adapter: Path, tiny_base: LocalBase, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="there is no such folder"):
        plan_import(tmp_path / "nothing", tiny_base)
    outer = tmp_path / "outer"
    shutil.copytree(own_adapter, outer / "checkpoint-10")
    with pytest.raises(AdapterMismatch, match=r"has no adapter_config\.json and no") as caught:
        plan_import(outer, tiny_base)
    assert caught.value.hint == "these folders in it may be: checkpoint-10"


def test_an_adapter_belongs_to_one_organisation(adopt: Adopt, saved_adapter: Path) -> None:
    adopt(saved_adapter, org="techcorp")
    for other in ("another", None):
        with pytest.raises(InvalidInput, match="belongs to the organisation 'techcorp'") as caught:
            adopt(saved_adapter, org=other)
        assert "--org techcorp" in str(caught.value.hint)
    adopt(saved_adapter, "free")
    with pytest.raises(InvalidInput, match="free@1 belongs to no organisation"):
        adopt(saved_adapter, "free", org="techcorp")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "A", "..", "", "a" * 65])
def test_names_that_could_leave_their_folder_are_refused(
    project: Project, adopt: Adopt, saved_adapter: Path, name: str
) -> None:
    with pytest.raises(InvalidInput, match="is not a valid adapter name"):
        adopt(saved_adapter, name)
    assert list_adapters(project) == []


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_an_import_cut_off_at_any_call_is_there_whole_or_not_at_all(
    project: Project, saved_adapter: Path, tiny_base: LocalBase, how: Any
) -> None:
    def adopt() -> AdapterVersion:
        return import_adapter(project, "demo", plan_import(saved_adapter, tiny_base))

    home = project.adapter_versions("demo")
    number = 0
    for number in interruptions(adopt, how):
        for version in list_versions(project, "demo"):
            assert version.manifest.files == list_files(version.path), number
        again = adopt()
        assert verify_version(project, again, tiny_base) == [], number
        assert version_numbers(project, "demo") == [1], number
        assert not list(home.glob(".staging-*")), number
        shutil.rmtree(home)
    assert number > 50


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0])
def test_an_alpha_that_scales_to_nothing_or_nowhere_is_refused(
    own_adapter: Path, tiny_base: LocalBase, alpha: float
) -> None:
    path = own_adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": alpha}))
    with pytest.raises(AdapterMismatch, match="not a readable LoRA config"):
        plan_import(own_adapter, tiny_base)


def test_an_organisation_is_a_name_like_others(adopt: Adopt, saved_adapter: Path) -> None:
    with pytest.raises(InvalidInput, match="organisation"):
        adopt(saved_adapter, org="../x")
