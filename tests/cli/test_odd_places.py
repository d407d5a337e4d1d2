"""A project in which something else stands where a file or a folder belongs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_validate_config_command import Models

from killed import SOAK
from modelyard.setup.init import init_project

PLACES = """\
.models
.models/locks
.models/state.db
experiments/example
datasets/example
datasets/example/DATASET.md
models/versions/a
models/versions/a/1
models/versions/a/1/MANIFEST.json
models/trained/a
models/embeddings
models/base
models/base/smollm2-135m-instruct
models/base/smollm2-135m-instruct/MODEL_INFO.md
configs/language_models
configs/language_models/gpt4_config.yaml
configs/environments.yaml
configs/embedding_models
"""
COMMANDS = """\
adapters list
adapters show a
adapters verify
adapters pin a@1 --reason x
adapters promote a@1 --force --reason x
validate-config
deploy-config fallback --env test
deployments
switch-config --profile balanced
feedback add --prompt a --answer b
feedback list
prepare-data rows.jsonl --out example
fine-tune --dataset example --dry-run --offline
update-embeddings --dry-run
index status
generate --adapter a hi --offline
generate --model domain:code_analysis hi --offline
"""
EACH = max(1, 3 // SOAK)
"""Of so many commands one is run for a place and a kind, another one for the next."""


def put(kind: str, place: Path) -> None:
    """Something else in this place."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        place.write_text('{"a": 1}\n')
    elif kind == "folder":
        (place / "inside").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(place.name)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with an adapter that has an empty version."""
    root = tmp_path_factory.mktemp("starter") / "project"
    project = init_project(root).project
    project.adapter_version("a", 1).mkdir(parents=True)
    project.trained.mkdir(exist_ok=True)
    project.trained_link("a").symlink_to("../versions/a/1")
    (root / "rows.jsonl").write_text('{"prompt": "Who leads sales?", "completion": "Ann."}\n')
    return root


@pytest.mark.parametrize("place", PLACES.split())
def test_what_stands_in_the_wrong_place_is_named_or_harmless(
    starter: Path,
    tmp_path: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    wrong = []
    other = "folder" if (starter / place).is_file() else "file"
    for turn, kind in enumerate((other, "pipe", "loop"), PLACES.split().index(place)):
        root = Path(shutil.copytree(starter, tmp_path / kind, symlinks=True))
        put(kind, root / place)
        monkeypatch.chdir(root)
        for command in COMMANDS.splitlines()[turn % EACH :: EACH]:
            code = models_here(*command.split())
            said = capsys.readouterr().err
            if code not in (0, 1, 2, 4, 5) or "Traceback" in said:
                wrong.append(f"{command} where {place} is a {kind}: {code}\n{said}")
    assert not wrong, "\n".join(wrong)
