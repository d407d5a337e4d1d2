"""A clone that git made without the versions: each command says which one is missing, and how to
get it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_samples import facts, fill_with
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import register_version
from modelyard.core.layout import Project

Models = Callable[..., int]
WORD = "demo@1 is not here: `models adapters pull demo@1 REMOTE`"


@pytest.fixture
def clone(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A git clone of a project whose .gitignore leaves the versions out, and not the links."""
    version = register_version(project, "demo", fill=fill_with(None), provenance=facts("run-1"))
    promote_version(project, version)
    (project.configs / "README.md").write_text("Configs.\n")
    (project.root / ".gitignore").write_text(".models/\nmodels/versions/\n")
    target = tmp_path / "clone"
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@techcorp.example")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "Start"]):
        subprocess.run(["git", *words], cwd=project.root, check=True)
    subprocess.run(["git", "clone", "-q", str(project.root), str(target)], check=True)
    monkeypatch.chdir(target)
    return Project(target)


@pytest.mark.parametrize(
    "words",
    [
        "adapters verify --all",
        "adapters verify --all demo",
        "adapters verify demo",
        "adapters verify demo@1",
        "adapters show demo",
        "adapters show adapter:demo@1",
        "adapters promote demo@1",
        "adapters gc demo --dry-run",
        "adapters export demo --format peft --to exported",
        "generate --adapter demo Hello",
        "generate --model demo Hello",
        "generate --adapter demo@1 Hello",
    ],
)
def test_a_version_that_git_left_out_is_named_with_the_command_that_fetches_it(
    clone: Project, models: Models, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert models(*words.split()) == 1
    out, err = capsys.readouterr()
    assert WORD in " ".join(f"{out} {err}".split())


def test_it_is_listed_and_programs_see_it(
    clone: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("adapters", "list") == 0
    assert WORD in " ".join(capsys.readouterr().out.split())
    assert models("adapters", "list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)["adapters"]
    assert (listed["name"], listed["in_use"], listed["versions"]) == ("demo", 1, [])
    assert listed["problem"] == WORD
    assert models("adapters", "verify", "--all", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["version"], result["ok"]) == ("demo", False)
    assert result["problems"][0]["message"] == WORD


def test_other_versions_are_named_as_a_way_out(
    clone: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    other = register_version(clone, "demo", fill=fill_with(None), provenance=facts("run-2"))
    assert models("adapters", "show", "demo") == 1
    assert other.name == "demo@2", "the number of the active version must not be used again"
    assert f"or use one of: {other.name}" in " ".join(capsys.readouterr().err.split())
    assert models("adapters", "show", "demo@9") == 2


def test_a_link_that_leads_elsewhere_is_found_without_any_version(
    clone: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(clone.versions, ignore_errors=True)
    link = clone.trained_link("demo")
    link.unlink()
    link.symlink_to("/elsewhere/demo/1")
    assert models("adapters", "verify", "--all") == 1
    assert "which is no version of demo" in " ".join(capsys.readouterr().out.split())
    assert models("adapters", "list") == 0
