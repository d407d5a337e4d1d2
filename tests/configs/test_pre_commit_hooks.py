"""`.pre-commit-hooks.yaml`: what others' repositories run before a commit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from modelyard.cli.app import COMMANDS
from modelyard.configs.kinds import KINDS

HOOKS = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_a_command_that_exists_on_every_kind_of_config(hook: dict[str, str]) -> None:
    program, command = shlex.split(hook["entry"])
    assert (program, command in COMMANDS) == ("models", True)
    wanted = re.compile(hook["files"])
    for kind in KINDS.values():
        inside = kind.name if kind.single else f"{kind.name}/gpt4_config"
        for place in (f"configs/{inside}.yaml", f"infra/yard/configs/{inside}.yml"):
            assert wanted.search(place), place
    for other in (
        "configs/schemas/language_models.json",
        "configs/language_models/notes.md",
        "configs/other_kind/a.yaml",
        "configs/elsewhere.yaml",
        "configs/language_models/deep/a.yaml",
        "myconfigs/language_models/a.yaml",
        "a.yaml",
    ):
        assert not wanted.search(other), other
