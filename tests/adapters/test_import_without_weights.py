"""An import for a base whose weights are not on this machine: what its card tells is checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.lora import AdapterMismatch
from modelyard.adapters.verify import check_adapter_files, verify_version
from modelyard.cli.app import main
from modelyard.core.layout import Project
from modelyard.weights.catalogue import Architecture, BaseCard
from modelyard.weights.local import LocalBase


@pytest.fixture
def card(tiny_base: LocalBase) -> BaseCard:
    config = json.loads((tiny_base.path / "config.json").read_text())
    return BaseCard(
        name="tiny",
        summary="Small.",
        parameters=1,
        licence="none",
        context_length=64,
        architecture=Architecture(
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            vocab_size=config["vocab_size"],
        ),
    )


def test_it_is_a_version_that_is_checked_once_the_base_is_here(
    project: Project, card: BaseCard, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    plan = plan_import(saved_adapter, card)
    version = import_adapter(project, "demo", plan)
    assert version.manifest.base.fingerprint == "unknown"
    assert version.manifest.spec["not_checked"] == list(plan.not_checked)
    assert "the ids of its tokens" in plan.not_checked
    assert verify_version(project, version, None) == []
    assert verify_version(project, version, tiny_base) == []
    check_adapter_files(version.path, tiny_base)
    other = replace(tiny_base, name="other")
    with pytest.raises(AdapterMismatch, match="was trained on tiny"):
        check_adapter_files(version.path, other)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"hidden_size": 8}, "hidden size of 64"),
        ({"layers": 1}, "is of a layer that the base does not have"),
    ],
)
def test_what_the_card_tells_is_compared(
    card: BaseCard, saved_adapter: Path, change: dict[str, int], wrong: str
) -> None:
    assert card.architecture is not None
    other = replace(card, architecture=replace(card.architecture, **change))
    with pytest.raises(AdapterMismatch) as raised:
        plan_import(saved_adapter, other)
    assert wrong in str(raised.value) + str(raised.value.problems)


def test_without_an_architecture_tensors_are_compared_with_the_config(
    card: BaseCard, own_adapter: Path
) -> None:
    bare = replace(card, architecture=None)
    assert "its card has no architecture" in plan_import(own_adapter, bare).not_checked[0]
    config = json.loads((own_adapter / "adapter_config.json").read_text())
    (own_adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 5}))
    with pytest.raises(AdapterMismatch) as raised:
        plan_import(own_adapter, bare)
    assert "says rank 5" in raised.value.problems[0].message


def test_a_tokenizer_must_be_in_the_folder(card: BaseCard, own_adapter: Path) -> None:
    (own_adapter / "tokenizer.json").unlink()
    with pytest.raises(AdapterMismatch, match="has no tokenizer"):
        plan_import(own_adapter, card)


def test_the_command_names_what_was_not_checked(
    project: Project,
    saved_adapter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_card: Callable[..., Path],
) -> None:
    write_card(project, "far")
    words = ["adapters", "import", str(saved_adapter), "--name", "demo", "--base-model", "far"]
    options = ["--without-weights", "--yes-other-base"]
    monkeypatch.setattr("sys.argv", ["models", *words, *options])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "not checked, since the weights of far are not here" in said
    assert "`models base pull far`, then `models adapters verify` checks it" in said


@pytest.fixture
def write_card() -> Callable[..., Path]:
    """The card of a base that no source here has."""

    def write(project: Project, name: str) -> Path:
        path = project.base_card(name)
        path.parent.mkdir(parents=True)
        path.write_text(
            f"---\nname: {name}\nsummary: Far.\nparameters: 1\nlicence: none\n"
            "context_length: 64\nsources:\n  - kind: hub\n    repo: acme/far\n"
            "    revision: main\n---\n\n# Far\n"
        )
        return path

    return write
