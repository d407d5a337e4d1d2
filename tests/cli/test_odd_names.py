"""Every option that takes a name or a path, with names and paths that can name nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_validate_config_command import Models

from deploy_samples import CONFIGS
from killed import SOAK
from modelyard.core.layout import Project

ODD = {
    "empty": "",
    "here": ".",
    "above": "..",
    "long": "a" * 300,
    "below long": f"{'a' * 300}/x.yaml",
    "longest": "a/" * 3_000,
    "controls": "a\tb\x1b[31m",
    "below a file": "file/below",
    "link to nothing": "dangling",
    "loop": "loop",
    "below a loop": "loop/x",
    "pipe": "pipe",
}
COMMANDS = """\
validate-config ODD
validate-config --env ODD
deploy-config ODD --env test --plan
deploy-config gpt4 --env ODD --plan
deploy-config --plan-file ODD
switch-config --profile ODD
switch-config --profile balanced --domain ODD
deployments --env ODD
config explain timeout ODD
config explain ODD gpt4
config explain timeout gpt4 --env ODD
config diff ODD gpt4
config diff gpt4@ODD test@ODD
config schema ODD
update-embeddings --domain ODD --dry-run
search --eval ODD
search --eval folder --qrels ODD
search x --domain ODD
search x --filter ODD
search x --env ODD
base show ODD
base pull ODD --offline
adapters import ODD --name x --base-model tiny
adapters import folder --name ODD --base-model tiny
adapters import folder --name x --base-model ODD --offline
adapters show ODD
adapters promote x@ODD
adapters rollback ODD
adapters history ODD
adapters pin ODD --reason x
adapters gc ODD
adapters verify ODD
adapters diff ODD x@ODD
adapters export ODD --to out
adapters push ODD --to folder
adapters push x --to ODD
adapters pull ODD --from folder
adapters pull x --from ODD
feedback add --file ODD
feedback add --prompt a --answer b --org ODD --dry-run
feedback list --org ODD
prepare-data ODD --out x
prepare-data rows.jsonl --out x --org ODD --dry-run
prepare-data rows.jsonl --out ./ODD --dry-run
fine-tune --check --base-model tiny --dataset ODD
fine-tune --check --base-model tiny --dataset ./ODD
fine-tune --check --base-model tiny --dataset some --config ODD
fine-tune --check --base-model tiny --dataset some --adapter ODD
fine-tune --check --base-model tiny --dataset some --experiment ODD
fine-tune --check --base-model tiny --dataset some --from ODD
fine-tune --check --base-model ODD --dataset some --offline
fine-tune --check --base-model tiny --dataset some --set ODD
generate hi --model ODD --offline
generate hi --adapter ODD --offline
evaluate --adapter ODD --offline
evaluate --base-model tiny --dataset ODD --offline
init ODD --dry-run
"""
EACH = max(1, 3 // SOAK)
"""Of so many names one is given to a command, another one to the next."""


@pytest.fixture
def odd_places(project: Project) -> Project:
    """A project with a base and configs, and with odd things in its folder."""
    for place, text in CONFIGS.items():
        path = project.configs / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    row = '{"prompt": "Who leads sales?", "completion": "Ann."}\n'
    Path("rows.jsonl").write_text(row)
    Path("datasets/some").mkdir(parents=True)
    shutil.copy("rows.jsonl", "datasets/some/train.jsonl")
    Path("file").write_text("text\n")
    Path("folder").mkdir()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    return project


@pytest.mark.parametrize("command", COMMANDS.splitlines())
def test_a_name_that_names_nothing_is_no_traceback(
    odd_places: Project, models_here: Models, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    turn = COMMANDS.splitlines().index(command)
    for kind, odd in list(ODD.items())[turn % EACH :: EACH]:
        code = models_here(*(word.replace("ODD", odd) for word in command.split()))
        printed = capsys.readouterr()
        said = printed.out + printed.err
        planned = code == 4 and "--plan" in command  # of the configs in a folder that is there
        assert planned or code in (0, 1, 2, 5), f"{command} with {kind}: {code}\n{said}"
        assert "Traceback" not in said and "a bug" not in said, f"{command} with {kind}\n{said}"
        assert planned or code == 0 or "error" in said.lower(), f"{command} with {kind}"
        assert "\x1b" not in said, f"{command} with {kind}"
