"""`--env` takes any declared environment; every command says what is wrong with another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_samples import edit, live_number, write_deploy_project
from modelyard.cli.options import complete_environment
from modelyard.core.layout import Project

Models = Callable[..., int]

COMMANDS = [
    "validate-config gpt4",
    "deploy-config gpt4",
    "deploy-config --all --plan",
    "deploy-config --rollback --yes",
    "switch-config --profile balanced",
    "switch-config --undo",
    "deployments",
    "deployments --drift",
    "config explain timeout gpt4",
    "config explain timeout gpt4 --draft",
    "config diff gpt4 claude",
    "config diff production test",
    "update-embeddings --dry-run",
    "search handbook",
    "search --eval beir",
    "index status",
    "fine-tune --dataset techcorp --check",
    "config show gpt4",
    "config show gpt4 --draft",
    "generate hello --model gpt4",
    "generate hello --adapter flowers",
    "generate hello --base-model tiny",
    "evaluate --adapter flowers --dataset techcorp",
    "evaluate --model gpt4 --dataset techcorp",
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = write_deploy_project(tmp_path / "project")
    (project.configs / "environments.yaml").write_text(
        "environments:\n  development: {}\n  production: {protected: false}\n"
        "  eu-production:\n    inherits: production\n    protected: true\n"
    )
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def models(place: Project, models_here: Models) -> Models:
    return models_here


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_environment_is_wrong_usage_with_the_near_name(
    models: Models, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*command.split(), "--env", "eu-prod") == 2
    err = capsys.readouterr().err
    assert "there is no environment 'eu-prod' (did you mean 'eu-production'?)" in err
    assert "there are development, production, eu-production; declare another in configs/" in err


@pytest.mark.parametrize("side", ["gpt4@eu-prod", "eu-prod@1"])
def test_an_unknown_environment_of_a_side_has_no_config_either(
    models: Models, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "diff", "gpt4", side) == 2
    assert "there is no" in capsys.readouterr().err


def test_what_is_protected_asks_and_nothing_else(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("deploy-config", "--all", "--env", "production") == 0
    assert models("deploy-config", "--all", "--env", "eu-production") == 2
    assert "eu-production needs a confirmation" in capsys.readouterr().err
    plan = str(place.root / "release.json")
    words = ("deploy-config", "--all", "--plan", "--plan-file", plan, "--env", "eu-production")
    assert models(*words) == 4
    assert models("deploy-config", "--plan-file", plan) == 2
    assert live_number(place, "eu-production") == 0
    assert models("deploy-config", "--plan-file", plan, "--yes") == 0
    switch = ("switch-config", "--profile", "high_accuracy", "--env", "eu-production")
    assert models(*switch) == 2
    assert models(*switch, "--yes") == 0
    assert models("switch-config", "--undo", "--env", "eu-production") == 2
    assert models("deploy-config", "--rollback", "--env", "eu-production") == 2
    assert live_number(place, "eu-production") == 2


def test_explain_names_the_environment_whose_overlay_holds(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("config", "explain", "timeout", "gpt4", "--env", "eu-production")
    assert models(*words, "--draft") == 0
    out = capsys.readouterr().out
    assert "timeout: 30 seconds" in out
    assert "configs/language_models/gpt4_config.yaml:15:5" in out
    assert " production " in out
    assert models(*words) == 1  # it would be the deployed value
    assert "nothing is deployed to eu-production" in capsys.readouterr().err


def test_one_that_is_live_cannot_be_undeclared(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("deploy-config", "gpt4", "--env", "eu-production", "--yes") == 0
    edit(place, "environments", "  eu-production:\n    inherits: production\n    prot", "  # prot")
    capsys.readouterr()
    assert models("validate-config") == 2
    out = capsys.readouterr().out
    assert "configs/environments.yaml:1:1: " in out
    assert "does not declare eu-production, where configs are live" in out
    assert models("deploy-config", "claude", "--env", "production") == 2
    assert "does not declare eu-production" in capsys.readouterr().err
    assert models("deployments") == 0
    assert "eu-production" in capsys.readouterr().out
    (place.configs / "environments.yaml").unlink()
    assert models("validate-config") == 2
    assert "does not declare eu-production" in capsys.readouterr().out
    assert models("validate-config", "gpt4") == 0  # a check of one file is of that file


@pytest.mark.parametrize("broken", ["environments: {a: {inherits: b}}", "no: [", "folder", "twice"])
def test_a_broken_declaration_is_reported_with_its_line_and_hides_no_other_finding(
    models: Models, place: Project, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.configs / "environments.yaml"
    if broken == "folder":
        path.unlink()
        path.mkdir()
    elif broken == "twice":
        path.with_suffix(".yml").write_text(path.read_text())
    else:
        path.write_text(broken)
    edit(place, "language_models/claude_config", "200k", "two")
    assert models("validate-config") == 2
    out = capsys.readouterr().out
    assert re.search(r"^configs/environments.yaml:[12]:1", out, re.MULTILINE)
    assert "configs/language_models/claude_config.yaml:5:1: 'context_tokens' must be" in out
    assert "unknown environment" not in out
    for command in ("search handbook", "deploy-config gpt4 --env production"):
        assert models(*command.split()) == 2
        assert "configs/environments.yaml" in capsys.readouterr().err
    for command in ("--help", "search --help", "deploy-config --help"):
        assert models(*command.split()) == 0


def test_the_declaration_of_a_draft_is_checked_as_if_it_lay_in_place(
    models: Models, place: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = tmp_path / "draft" / "environments.yaml"
    draft.parent.mkdir()
    draft.write_text("environments: {development: {}, production: {}, qa: {}}\n")
    config = place.configs / "language_models" / "claude_config.yaml"
    config.write_text(config.read_text() + "environments: {qa: {max_output_tokens: 4k}}\n")
    assert models("validate-config", str(config)) == 2
    assert "unknown environment 'qa'" in capsys.readouterr().out
    assert models("validate-config", str(draft), str(config)) == 0
    assert models("validate-config", str(draft), str(config), "--env", "qa") == 0


def test_the_shell_completes_what_is_declared(
    place: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete_environment("") == ["development", "production", "eu-production"]
    assert complete_environment("eu") == ["eu-production"]
    environment = {
        **os.environ,
        "_MODELS_COMPLETE": "complete_bash",
        "COMP_WORDS": "models search --env eu",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-m", "modelyard"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "eu-production" in done.stdout, done.stderr
    monkeypatch.chdir(tmp_path)
    assert complete_environment("") == []
