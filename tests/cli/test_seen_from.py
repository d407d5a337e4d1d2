"""Paths in what is printed: a terminal opens them, and a code host finds them in its repository."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.seen_from import repository_around, seen_from, without_dots
from modelyard.setup.init import init_project

Models = Callable[..., int]

BAD = "configs/language_models/bad.yaml"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which a project with one bad config lies, `infra/yard`."""
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    root = tmp_path / "mono"
    (root / ".git").mkdir(parents=True)
    init_project(root / "infra" / "yard")
    (root / "infra" / "yard" / BAD).write_text("timeout: 60\n")
    return root


def files_of(form: str, printed: str) -> set[str]:
    """The files that a report names."""
    if form == "text":
        return set(re.findall(r"^(.*?):\d+:\d+: ", printed, re.MULTILINE))
    if form == "github":
        return set(re.findall(r"file=([^,]*)", printed))
    if form == "json":
        return {finding["file"] for finding in json.loads(printed)["findings"]}
    if form == "junit":
        return {case.attrib["file"] for case in ElementTree.fromstring(printed).iter("testcase")}
    (run,) = json.loads(printed)["runs"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert {place["artifactLocation"]["uriBaseId"] for place in places} == {"%SRCROOT%"}
    return {place["artifactLocation"]["uri"] for place in places}


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        (".", f"infra/yard/{BAD}"),
        ("infra/yard", BAD),
        ("infra/yard/configs", "language_models/bad.yaml"),
        ("infra/yard/datasets", f"../{BAD}"),
    ],
)
def test_text_is_for_who_stands_there_and_the_rest_for_the_repository(
    repository: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    text: str,
) -> None:
    monkeypatch.chdir(repository / folder)
    in_repository = f"infra/yard/{BAD}"
    expected = {"text": text, "json": BAD} | dict.fromkeys(
        ("github", "junit", "sarif"), in_repository
    )
    for form, file in expected.items():
        assert models_here("validate-config", text, "--format", form) == 2
        assert files_of(form, capsys.readouterr().out) == {file}, form
    assert (repository / folder / text).is_file()


def test_sarif_says_which_folder_its_paths_start_at(
    repository: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository / "infra" / "yard")
    assert models_here("validate-config", "bad", "--format", "sarif") == 2
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["originalUriBaseIds"] == {"%SRCROOT%": {"uri": f"{repository.as_uri()}/"}}


def test_github_counts_from_its_workspace(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = repository / "infra" / "yard"
    assert repository_around(yard) == repository
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "infra"))
    assert repository_around(yard) == repository / "infra"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "elsewhere"))
    assert repository_around(yard) == repository
    (repository / ".git").rmdir()
    assert repository_around(yard) == yard


@pytest.mark.parametrize(
    "line",
    [
        "deploy-config {} --env test",
        "config show {}",
        "config explain timeout {}",
        "config diff {} gpt4",
        "fine-tune --config {} --dataset x --check",
    ],
)
@pytest.mark.parametrize("folder", [".", "infra/yard/configs"])
def test_every_command_names_a_bad_file_so_that_it_can_be_opened(
    repository: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    folder: str,
) -> None:
    monkeypatch.chdir(repository / folder)
    if "fine-tune" in line:
        bad = repository / "infra/yard/configs/fine_tuning/bad.yaml"
        bad.write_text("timeout: 60\n")
    else:
        bad = repository / "infra/yard" / BAD
    assert models_here(*line.format(bad).split()) == 2
    said = capsys.readouterr().err
    named = re.findall(r"(\S*bad\.yaml)(?:\b|:)", said)
    assert set(named) == {str(bad.relative_to(repository / folder))}


def test_a_file_of_a_project_within_another_is_checked_in_its_own(
    repository: Path,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    init_project(repository)
    monkeypatch.chdir(repository)
    named = "infra/yard/configs/language_models/own.yaml"
    text = (repository / "configs/language_models/gpt4_config.yaml").read_text()
    Path(named).write_text(text.replace("aliases:", "aliases: [own]\n# "))
    assert models_here("validate-config", named, "--json") in (0, 2)
    assert json.loads(capsys.readouterr().out)["files"] == ["configs/language_models/own.yaml"]


def test_a_path_has_dots_only_where_they_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert without_dots(tmp_path / "a" / ".." / "a" / "b" / "x") == tmp_path / "a" / "b" / "x"
    (tmp_path / "link").symlink_to("a/b")
    led = tmp_path / "link" / ".." / "x"
    assert without_dots(led) == led, "link/.. is a, and not what holds the link"
    assert seen_from(tmp_path / "a", tmp_path / "a", "b/x") == "b/x"
    assert seen_from(tmp_path / "elsewhere", tmp_path / "a", "b/x") == str(tmp_path / "a/b/x")
    assert seen_from(tmp_path, tmp_path / "a", "/etc/x.yaml") == "/etc/x.yaml"
    assert seen_from(tmp_path, tmp_path / "a", str(tmp_path / "c.yaml")) == "c.yaml"
