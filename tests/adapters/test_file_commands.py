"""`models adapters verify | diff | import | export`: what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from damage import flip_last_bit
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import AdapterVersion, list_adapters
from modelyard.core.layout import Project

Adopt = Callable[..., AdapterVersion]


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def models(project: Project) -> Callable[..., Ended]:
    """Run `models adapters ...` in this process."""
    from typer.testing import CliRunner

    from modelyard.cli.app import app

    def run(*words: object) -> Ended:
        ended = CliRunner().invoke(app, ["adapters", *map(str, words)], catch_exceptions=False)
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    return run


Models = Callable[..., Ended]


def test_verify_says_that_a_version_is_whole(
    models: Models, adopt: Adopt, saved_adapter: Path, project: Project
) -> None:
    promote_version(project, adopt(saved_adapter))
    ended = models("verify", "demo")
    assert (ended.code, ended.out) == (0, "demo@1  complete, and fits its base\n")
    (row,) = models("verify", "--all", "--json").value
    assert row == {"version": "demo@1", "ok": True, "problems": [], "logit_change": None}


def test_verify_names_each_fault_and_ends_with_1(
    models: Models, adopt: Adopt, saved_adapter: Path, save_adapter: Callable[..., Path]
) -> None:
    adopt(saved_adapter)
    spoilt = adopt(save_adapter(r=4))
    path = spoilt.path / "tokenizer.json"
    flip_last_bit(path)
    ended = models("verify", "--all")
    assert ended.code == 1
    assert ended.out.splitlines()[:2] == [
        "demo@1  complete, and fits its base",
        "demo@2  2 problems",
    ]
    assert "tokenizer.json: was changed: its SHA-256 differs from the manifest" in ended.out
    assert "error: 1 of 2 versions is not as it should be: demo@2" in ended.err
    ended = models("verify", "demo", "--all", "--json")
    assert ended.code == 1
    assert [row["ok"] for row in ended.value] == [True, False]


def test_verify_reports_a_broken_manifest_and_goes_on(
    models: Models, adopt: Adopt, saved_adapter: Path, save_adapter: Callable[..., Path]
) -> None:
    broken = adopt(saved_adapter)
    adopt(save_adapter(r=4))
    (broken.path / "MANIFEST.json").chmod(0o640)
    (broken.path / "MANIFEST.json").write_text("{")
    ended = models("verify", "--all", "--json")
    assert ended.code == 1
    assert [row["ok"] for row in ended.value] == [False, True]
    assert ended.value[0]["problems"][0]["message"].startswith("is not JSON")


def test_verify_deep_loads_it_and_shows_the_change(
    models: Models, adopt: Adopt, saved_adapter: Path
) -> None:
    adopt(saved_adapter)
    ended = models("verify", "demo@1", "--deep")
    assert ended.code == 0, ended.err
    assert "it moves logits of its base by up to" in ended.out
    assert models("verify", "demo@1", "--deep", "--json").value[0]["logit_change"] > 0.1


def test_verify_without_the_base_says_what_it_could_not_check(
    models: Models, adopt: Adopt, saved_adapter: Path, project: Project
) -> None:
    adopt(saved_adapter)
    card = project.base_card("tiny")
    card.write_text(card.read_text().replace("    path: ", "    path: /nowhere"))
    ended = models("verify", "demo@1")
    assert ended.code == 1
    assert "its base tiny is not on this machine, so its fit could not be checked" in ended.out
    assert "run `models base pull tiny`" in ended.out


@pytest.mark.parametrize(
    "words", [(), ("demo@1", "--all"), ("none",), ("none", "--all"), ("../x",)]
)
def test_verify_of_nothing_that_is_there_is_wrong_usage(
    models: Models, adopt: Adopt, saved_adapter: Path, words: tuple[str, ...]
) -> None:
    adopt(saved_adapter)
    assert models("verify", *words).code == 2


def test_verify_all_of_an_empty_project_is_no_failure(models: Models) -> None:
    ended = models("verify", "--all")
    assert (ended.code, ended.out) == (0, "There is no version to check yet.\n")


def test_diff_shows_settings_and_the_weights_that_moved(
    models: Models, adopt: Adopt, saved_adapter: Path, save_adapter: Callable[..., Path]
) -> None:
    adopt(saved_adapter)
    adopt(save_adapter(r=4))
    ended = models("diff", "demo@1", "demo@2", "--top", "3")
    assert ended.code == 0, ended.err
    assert "lora.rank" in ended.out
    assert "14 modules change (3 shown), together by" in ended.out
    value = models("diff", "demo@1", "demo@2", "--json").value
    assert len(value["modules"]) == 14
    assert value["spec"] == [{"name": "lora.rank", "before": 8, "after": 4}]
    assert value["modules"][0]["share"] > 0
    same = models("diff", "demo@1", "demo@1")
    assert same.out == "The weights are equal.\n"


def test_import_adopts_a_folder_and_says_what_it_took(
    models: Models, own_adapter: Path, project: Project
) -> None:
    words = ("import", own_adapter, "--name", "mine", "--base-model", "tiny", "--org", "acme")
    dry = models(*words, "--dry-run")
    assert dry.code == 0, dry.err
    assert "Would make the next version of mine from 5 files" in dry.out
    assert list_adapters(project) == []

    ended = models(*words)
    assert ended.code == 0, ended.err
    assert "mine@1 is registered, from 5 files" in ended.out
    assert "not part of an adapter, so not imported: README.md" in ended.err
    again = models(*words)
    assert again.out == "mine@1 already holds these files; nothing to do\n"
    value = models(*words, "--json").value
    assert (value["version"], value["changed"], value["org"]) == ("mine@1", False, "acme")


def test_import_refuses_pickles_with_exit_code_1(models: Models, own_adapter: Path) -> None:
    (own_adapter / "adapter_model.safetensors").rename(own_adapter / "adapter_model.bin")
    ended = models("import", own_adapter, "--name", "mine", "--base-model", "tiny")
    assert ended.code == 1
    assert "a pickle, which can run any code" in ended.err
    assert "weights_only=True" in ended.err


@pytest.mark.parametrize("form", ["peft", "vllm", "ollama", "gguf-lora"])
def test_export_writes_what_another_program_loads(
    models: Models, adopt: Adopt, saved_adapter: Path, tmp_path: Path, form: str
) -> None:
    adopt(saved_adapter)
    out = tmp_path / "new" / "out"
    words = ("export", "demo@1", "--to", out, "--format", form)
    dry = models(*words, "--dry-run")
    assert "Would write demo@1" in dry.out
    assert not out.parent.exists()
    ended = models(*words)
    assert ended.code == 0, ended.err
    again = models(*words, "--json").value
    assert again["changed"] is False
    assert sorted(path.name for path in out.iterdir()) == sorted([*again["files"], "EXPORT.json"])
    if form in ("vllm", "ollama"):
        assert again["command"] in ended.out
    if form == "ollama":
        text = (out / "Modelfile").read_text()
        assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in text
        assert 'PARAMETER stop "<|im_end|>"' in text


def test_export_merged_prints_the_parity(
    models: Models, adopt: Adopt, saved_adapter: Path, tmp_path: Path
) -> None:
    adopt(saved_adapter)
    words = ("export", "demo@1", "--to", tmp_path / "out", "--format", "merged")
    ended = models(*words, "--store-as", "fp32")
    assert ended.code == 0, ended.err
    assert "likeliest tokens are the adapter's" in ended.out
    value = models(*words, "--store-as", "fp32", "--json").value
    assert value["parity"] >= 0.99
    assert value["tokens"] > 50


def test_export_merged_below_the_parity_asked_ends_with_4_and_leaves_nothing(
    models: Models,
    adopt: Adopt,
    saved_adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from modelyard.inference import merge

    adopt(saved_adapter)
    monkeypatch.setattr(merge, "LEAST_PARITY", 1.01)
    ended = models("export", "demo@1", "--to", tmp_path / "out", "--format", "merged")
    assert ended.code == 4
    assert "nothing was written" in ended.err
    assert "--store-as fp32" in ended.err
    assert not (tmp_path / "out").exists()


DAMAGED = {"deep": "[" * 20_000, "words": "not json", "list": "[]", "empty": ""}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
)
def test_import_refuses_a_damaged_file_by_its_name(
    models: Models, own_adapter: Path, project: Project, name: str, damage: str
) -> None:
    (own_adapter / name).write_text(DAMAGED[damage])
    for more in ((), ("--dry-run",)):
        ended = models("import", own_adapter, "--name", "mine", "--base-model", "tiny", *more)
        assert ended.code in (1, 2), ended.err
        assert name in ended.err
    assert list_adapters(project) == []


def test_import_refuses_a_chat_template_that_cannot_be_used(
    models: Models, own_adapter: Path, project: Project
) -> None:
    (own_adapter / "chat_template.jinja").write_text("\n{% for x in %}")
    ended = models("import", own_adapter, "--name", "mine", "--base-model", "tiny")
    assert ended.code == 2
    assert f"{own_adapter.name}/chat_template.jinja:2: the chat template is not valid" in ended.err
    assert list_adapters(project) == []


@pytest.mark.parametrize("name", ["MANIFEST.json", "adapter_config.json", "tokenizer_config.json"])
def test_commands_on_versions_name_a_file_that_is_nested_too_deeply(
    models: Models, adopt: Callable[..., AdapterVersion], own_adapter: Path, name: str
) -> None:
    first, second = adopt(own_adapter), adopt(own_adapter, "other")
    for version in (first, second):
        (version.path / name).chmod(0o600)
        (version.path / name).write_text(DAMAGED["deep"])
    for words in (
        ("verify", "demo@1"),
        ("diff", "demo@1", "other@1"),
        ("promote", "demo@1", "--force", "--reason", "x"),
        ("show", "demo"),
        ("export", "demo@1", "--to", "out", "--format", "ollama"),
    ):
        ended = models(*words)
        assert ended.code in (0, 1, 2), (words, ended.err)
    assert name in models("verify", "demo@1").out + models("verify", "demo@1").err


def test_a_folder_that_is_no_adapter_is_refused_before_a_base_is_fetched(
    models: Models, project: Project
) -> None:
    for path in ("none", "configs"):
        ended = models("import", path, "--name", "mine", "--base-model", "no-such-base")
        assert ended.code in (1, 2)
        assert path in ended.err and "no-such-base" not in ended.err
