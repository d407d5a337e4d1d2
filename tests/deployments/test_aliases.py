"""Aliases of language models: a name never means two models that are live together."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy_samples import deploy_config, edit, live_number, write_deploy_project
from modelyard.core.errors import ProblemsFound

GPT4, CLAUDE = "language_models/gpt4_config", "language_models/claude_config"


def test_an_alias_moves_only_together_with_both_its_models(tmp_path: Path) -> None:
    project = write_deploy_project(tmp_path)
    edit(project, GPT4, "provider:", "aliases: [best]\nprovider:")
    deploy_config(project, ["gpt4", "claude"], environment="test")
    edit(project, GPT4, "aliases: [best]\n", "")
    edit(project, CLAUDE, "provider:", "aliases: [best]\nprovider:")
    with pytest.raises(ProblemsFound, match="two models in test would share a name") as refused:
        deploy_config(project, ["claude"], environment="test")
    assert [str(problem) for problem in refused.value.problems] == [
        f"language_models/{name}, aliases: 'best' would be a name of claude and gpt4"
        for name in ("claude", "gpt4")
    ]
    assert live_number(project) == 1
    deploy_config(project, ["gpt4", "claude"], environment="test")
    assert live_number(project) == 2
