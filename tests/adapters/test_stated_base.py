"""The base that a config names: compared at the import, kept, and loadable in exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.export import export_version
from modelyard.adapters.import_ import plan_import
from modelyard.adapters.lora import OtherKindOfAdapter, unknown_settings
from modelyard.adapters.overview import summarize_adapters
from modelyard.adapters.stated_base import NAME_KEY, loadable_name, names_base
from modelyard.adapters.versions import AdapterVersion, list_adapters, load_version
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

Models = Callable[..., int]
CONFIG = "adapter_config.json"


@pytest.fixture
def models(project: Project, models_here: Models) -> Models:
    """Run `models` with these words, in the test's project; returns the exit code."""
    return models_here


def configure(folder: Path, **changes: Any) -> Path:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("stated", "same"),
    [
        ("tiny", True),
        ("acme/Tiny", True),
        ("mirror/tiny-bnb-4bit", True),
        ("unsloth/tiny-unsloth-bnb-4bit", True),
        ("/mnt/elsewhere/tiny/", True),
        ("C:\\models\\tiny", True),
        ("/root/.cache/huggingface/hub/models--acme--tiny/snapshots/abc", True),
        ("acme/tiny-v2", False),
        ("acme/huge", False),
        ("/mnt/elsewhere/huge", False),
        ("/hub/models--acme--huge/snapshots/abc", False),
    ],
)
def test_names_of_the_base_are_told_from_those_of_others(
    project: Project, tiny_base: LocalBase, stated: str, same: bool
) -> None:
    assert names_base(project, stated, tiny_base) is same


def test_an_adapter_of_another_base_is_imported_only_on_purpose(
    project: Project, own_adapter: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(own_adapter, base_model_name_or_path="acme/other-135M")
    words = ("adapters", "import", str(own_adapter), "--name", "mine", "--base-model", "tiny")
    assert models(*words) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "names another base, 'acme/other-135M', than tiny" in said
    assert "--yes-other-base" in said
    assert models(*words, "--dry-run") == 1
    assert list_adapters(project) == []
    capsys.readouterr()
    assert models(*words, "--yes-other-base", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["stated_base"] == "acme/other-135M"
    assert "names another base" in " ".join(err.split())
    version = load_version(project, "mine", 1)
    assert version.manifest.spec[NAME_KEY] == "acme/other-135M"
    assert "`acme/other-135M`" in (version.path / "TRAINING_INFO.md").read_text()
    assert json.loads((version.path / CONFIG).read_text())[NAME_KEY] == "tiny"


def test_the_day_of_the_import_is_not_when_it_was_trained(
    project: Project,
    own_adapter: Path,
    adopt: Callable[..., AdapterVersion],
    models: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adopt(own_adapter)
    (summary,) = summarize_adapters(project)
    assert summary.versions[0].trained_at is None
    assert models("adapters", "show", "demo@1") == 0
    assert "unknown; imported" in capsys.readouterr().out
    assert models("adapters", "list") == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION", "SEQ_2_SEQ_LM"])
def test_adapters_that_generate_no_text_are_refused(
    own_adapter: Path, tiny_base: LocalBase, task: str
) -> None:
    configure(own_adapter, task_type=task)
    with pytest.raises(OtherKindOfAdapter, match=f"task {task}"):
        plan_import(own_adapter, tiny_base)


def test_settings_of_a_newer_peft_are_named(
    own_adapter: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(own_adapter, use_novel_scaling=True, novel_config={"a": 1}, unset=None, off=False)
    words = ("adapters", "import", str(own_adapter), "--name", "mine", "--base-model", "tiny")
    assert models(*words, "--dry-run") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "ignores: novel_config, use_novel_scaling" in said


def test_every_setting_that_the_installed_peft_writes_is_known() -> None:
    from dataclasses import fields

    from peft import LoraConfig

    assert unknown_settings({field.name: "set" for field in fields(LoraConfig)}) == ()


@pytest.mark.parametrize("form", ["peft", "vllm"])
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_peft_finds_the_base_of_an_export_by_itself(
    project: Project,
    own_adapter: Path,
    adopt: Callable[..., AdapterVersion],
    tiny_base: LocalBase,
    tmp_path: Path,
    form: Any,
) -> None:
    from peft import AutoPeftModelForCausalLM

    version = adopt(configure(own_adapter, task_type=None))
    export_version(
        project, version, tiny_base, tmp_path / "out", form, render=lambda turns: "", stops=[]
    )
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert any("lora_B" in name for name, _ in model.named_parameters())


def test_a_base_of_the_hubs_cache_is_named_by_its_repository(tiny_base: LocalBase) -> None:
    commit = "0123456789" * 4
    path = Path("/cache/hub/models--acme--tiny/snapshots", commit)
    assert loadable_name(replace(tiny_base, path=path)) == {
        NAME_KEY: "acme/tiny",
        "revision": commit,
    }
