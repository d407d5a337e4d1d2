"""However a config is called, by its name, KIND/NAME, KIND/NAME.yaml or a path: every command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy_samples import write_deploy_project
from modelyard.cli.app import app
from modelyard.core.layout import Project

Models = Callable[..., int]

CONFIGS = {
    "CONFIG": "language_models/gpt4_config",
    "CONFIG|DIR": "language_models/gpt4_config",
    "BEFORE": "language_models/gpt4_config",
    "AFTER": "language_models/gpt4_config",
    "MODEL": "language_models/gpt4_config",
    "PROFILE": "performance_profiles/high_accuracy",
    "DOMAIN": "specialized_models/code_analysis",
    "SUITE": "test_suites/tiny_config",
}
"""What stands for a config in the help, and the file of one."""

# The rest of each command line, so that it ends before it asks a model; `{}` is the config.
LINES = {
    "ask --domain": "--domain {} --no-fallback hello",
    "ask --profile": "--profile {} --no-fallback hello",
    "validate-config CONFIG|DIR": "{}",
    "deploy-config CONFIG": "{} --env test --dry-run",
    "switch-config --profile": "--profile {} --dry-run",
    "switch-config --domain": "--profile balanced --domain {} --dry-run",
    "fine-tune --config": "--config {} --dataset nothing --check",
    "compare --domain": "claude gpt4 --domain {} --test-suite nothing",
    "compare --test-suite": "no-model gpt4 --test-suite {}",
    "performance-test --config": "--config {} --test-suite nothing",
    "performance-test --domain": "--domain {} --test-suite nothing",
    "performance-test --test-suite": "--test-suite {} --baseline nothing",
    "config show CONFIG": "{}",
    "config explain CONFIG": "timeout {}",
    "config remove CONFIG": "{} --env test --dry-run",
    "config diff BEFORE": "{} claude",
    "config diff AFTER": "claude {}",
    "providers compare --model": "--test-suite tiny --model {} --model absent",
    "providers compare --test-suite": "--model nothing --test-suite {}",
    "route explain --domain": "--domain {}",
    "route explain --profile": "--profile {}",
}
OTHER = {"fine-tune --config": "fine_tuning/small_data_config"}
"""Where another kind of config belongs."""


@pytest.fixture
def models(place: Project, models_here: Models) -> Models:
    return models_here


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = write_deploy_project(tmp_path / "project")
    for name, text in {
        "test_suites/tiny_config": "description: One\nload: {requests: 1}\n",
        "fine_tuning/small_data_config": "description: Small\nlora: {rank: 4}\n",
    }.items():
        path = project.configs / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(project.root)
    return project


def parameters() -> Iterator[tuple[str, str]]:
    """Each parameter of each command that takes a config, with what stands for it in the help."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for name in getattr(command, "commands", ()):
            yield from walk(command.commands[name], (*words, name))
        for parameter in command.params:
            shown = getattr(parameter, "metavar", None) or ""
            if shown in CONFIGS and parameter.opts:
                option = parameter.opts[0]
                yield " ".join((*words, option if option.startswith("-") else shown)), shown

    yield from walk(typer.main.get_command(app), ())


FOUND = {name: shown for name, shown in parameters() if name.split()[0] != "explain"}


def test_every_command_that_takes_a_config_is_tried_here() -> None:
    assert sorted(FOUND) == sorted(LINES)


@pytest.mark.parametrize("parameter", sorted(FOUND))
def test_a_config_may_be_called_in_every_form(
    place: Project,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    parameter: str,
) -> None:
    """What a command says is the same for each form, and another thing for a name of nothing."""
    file = OTHER.get(parameter, CONFIGS[FOUND[parameter]])
    kind, name = file.removesuffix("_config").split("/")

    def said(word: str) -> tuple[int, str]:
        command = parameter.rpartition(" ")[0]
        code = models(*command.split(), *LINES[parameter].format(word).split())
        printed = capsys.readouterr()
        return code, re.sub(rf"\S*{name}[^\s']*", "X", printed.out + printed.err)

    if parameter == "config remove CONFIG":
        assert models("deploy-config", name, "--env", "test") == 0
        capsys.readouterr()
    by_name = said(name)
    assert by_name[0] != 3
    for word in (f"{kind}/{name}", f"{kind}/{name}.yaml", f"configs/{file}.yaml"):
        assert said(word) == by_name, word
    code, printed = said(f"{kind}/nothing")
    assert code in (1, 2), printed
    assert "nothing" in printed
    (place.root / "notes").mkdir()
    monkeypatch.chdir(place.root / "notes")
    assert said(f"../configs/{file}.yaml")[0] == by_name[0]
    monkeypatch.chdir("/")
    assert said(str(place.configs / f"{file}.yaml"))[0] == by_name[0]


@pytest.mark.parametrize("parameter", ["switch-config --profile", "ask --domain"])
def test_a_config_of_another_kind_is_refused(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str], parameter: str
) -> None:
    command = parameter.rpartition(" ")[0]
    line = LINES[parameter].format("language_models/gpt4.yaml")
    assert models(command, *line.split()) == 2
    assert "is of the kind language_models" in capsys.readouterr().err
