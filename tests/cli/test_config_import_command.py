"""`models config import` as a person and a script see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.layout import Project

Models = Callable[..., int]

THEIRS = """\
base_model: Example/Unknown
adapter: lora
lora_r: 8
sequence_len: 512
micro_batch_size: 2
learning_rate: 2e-4
output_dir: ./out
special_tokens: {pad_token: "<pad>"}
"""


@pytest.fixture(autouse=True)
def theirs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project.root / "axolotl.yaml"
    path.write_text(THEIRS)
    monkeypatch.chdir(project.root)
    return path


def test_it_says_what_was_written_and_what_was_left_out(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "import", "axolotl.yaml", "--to", "mine") == 0
    printed = capsys.readouterr()
    config = "configs/fine_tuning/mine.yaml"
    assert printed.out.startswith(f"{config} holds 5 settings of an axolotl config\n")
    assert "  special_tokens: the base's tokenizer stays as it is\n" in printed.out
    assert "  output_dir: versions and checkpoints have their own places here\n" in printed.out
    assert printed.out.endswith(f"models fine-tune --dataset NAME --config {config} --check\n")
    assert "no card in models/base/ is for 'Example/Unknown'" in printed.err
    assert "  rank: 8  # lora_r\n" in (project.root / config).read_text()
    assert models("config", "import", "axolotl.yaml", "--to", "mine") == 2
    assert "it is not replaced" in capsys.readouterr().err


def test_a_dry_run_shows_the_config_and_writes_nothing(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.root.rglob("*"))
    assert models("config", "import", "axolotl.yaml", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert sorted(project.root.rglob("*")) == before
    assert models("config", "import", "axolotl.yaml") == 0
    assert (project.configs / "fine_tuning" / "axolotl.yaml").read_text() in shown


def test_a_script_gets_every_key_and_what_became_of_it(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "import", "axolotl.yaml", "--devices", "4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["program"], found["written"], found["base_is_known"]) == ("axolotl", True, False)
    assert found["settings"]["schedule"]["rows_per_step"] == 8
    became = {key for setting in found["carried"] for key in setting["keys"]}
    became |= {left["key"] for left in (*found["left_out"], *found["not_needed"])}
    assert became | {"adapter"} == {line.split(":")[0] for line in THEIRS.splitlines()}
