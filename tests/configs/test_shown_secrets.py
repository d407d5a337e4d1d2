"""What a person put where it does not belong is not repeated by any command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy_samples import deploy_config, write_deploy_project
from modelyard.configs.explain import explain
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project
from modelyard.deployments.diff import diff_configs
from modelyard.deployments.drift import find_drift
from modelyard.deployments.history import list_deployments
from modelyard.secrets.values import mask_value

SECRET = "sk-proj-" + "a1B2c3D4e5" * 4


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return write_deploy_project(tmp_path / "project")


def with_secret(place: Project) -> Path:
    path = place.configs / "language_models" / "gpt4_config.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("description")]
    path.write_text("\n".join([*lines, f"description: use {SECRET}", ""]))
    return path


def test_explain_masks_a_secret_in_every_layer(place: Project) -> None:
    catalogue = ConfigCatalogue(place)
    (found,) = explain(catalogue.read(with_secret(place)), "description", None)
    assert found.value == "use ****"
    assert SECRET not in json.dumps(asdict(found))


def test_a_difference_masks_a_secret(place: Project) -> None:
    with_secret(place)
    found = diff_configs(ConfigCatalogue(place), "claude", "gpt4")
    assert "use ****" in json.dumps(asdict(found))
    assert SECRET not in json.dumps(asdict(found))


def test_drift_masks_a_secret_that_was_added_by_hand(place: Project) -> None:
    deploy_config(place, ["gpt4"], environment="test")
    with (place.deployed("test") / "language_models" / "gpt4.yaml").open("a") as stream:
        stream.write("access_key: only-these-words\n")
    (changed,) = find_drift(place, "test").files
    assert [(setting.key, setting.after) for setting in changed.settings] == [
        ("access_key", "****")
    ]


def test_a_secret_in_the_reason_is_not_kept(place: Project) -> None:
    deploy_config(place, ["gpt4"], environment="test", reason=f"with {SECRET}")
    (past,) = list_deployments(place, ["test"])
    assert past.revision.reason == "with ****"
    files = (path for path in place.local_state.rglob("*") if path.is_file())
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("wrap", [lambda text: [text], lambda text: {"x": {"y": text}}])
def test_secrets_within_lists_and_groups_are_masked(wrap: Callable[[str], object]) -> None:
    assert SECRET not in str(mask_value("key", wrap(SECRET)))
    assert mask_value("key", wrap("plain")) == wrap("plain")


def test_references_and_numbers_stay(place: Project) -> None:
    assert mask_value("api_key", "env:OPENAI_API_KEY") == "env:OPENAI_API_KEY"
    assert mask_value("max_token", "4k") == "4k"
    assert mask_value("model", 3) == 3
