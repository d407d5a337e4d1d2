"""`models report`: a run or an experiment, shown again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest
from test_validate_config_command import Models

from modelyard.core.layout import Project
from modelyard.performance.results import TestRun
from modelyard.performance.store import save_run
from run_samples import CASES, sample_run


@pytest.fixture
def kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> TestRun:
    monkeypatch.chdir(project.root)
    return save_run(project, sample_run())


@pytest.mark.parametrize("what", ["1", "latest", "run.json"])
def test_a_run_is_shown_by_its_number_or_from_a_file(
    kept: TestRun, what: str, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("report", "1", "--json") == 0
    printed = capsys.readouterr().out
    Path("run.json").write_text(printed)
    assert json.loads(printed)["target"] == "profile:balanced"
    assert models_here("report", what) == 0
    shown = capsys.readouterr()
    assert "accuracy facts" in shown.out
    assert "breach" in shown.out
    assert "it does not say 29" in shown.out
    assert "12 questions asked of both" in shown.out


def test_its_page_and_its_junit_are_written(kept: TestRun, models_here: Models) -> None:
    assert models_here("report", "latest", "--html", "run.html", "--junit", "run.xml") == 0
    assert "breaches quick" in Path("run.html").read_text()
    assert parse("run.xml").getroot().attrib["failures"] == "1"


def test_two_pages_do_not_share_a_file(
    kept: TestRun, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("report", "latest", "--html", "run", "--junit", "./run") == 2
    assert "--html and --junit both name run" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_hostile_answer_does_no_harm(
    project: Project,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.root)
    hostile = replace(CASES[0], answer="\x1b[2J</script>\u202e", question="\x00\x1b]0;title\x07")
    save_run(project, sample_run(cases=(hostile,)))
    assert models_here("report", "latest", "--html", "run.html", "--junit", "run.xml") == 0
    assert "\x1b" not in "".join(capsys.readouterr())
    assert "\x1b" not in Path("run.html").read_text()
    parse("run.xml")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("7", "there is no test run 7"),
        ("latest", "no such run was kept yet"),
        ("gone.json", "neither the number of a test run nor a file"),
        ("gone", "there is no experiment 'gone'"),
        ("", "is not a valid experiment name"),
        ("README.md", "is not JSON"),
        (".", "is not a valid experiment name"),
    ],
)
def test_what_is_not_there_is_an_error_with_a_way_on(
    what: str,
    said: str,
    project: Project,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.root)
    Path("README.md").write_text("# A project\n")
    assert models_here("report", what) in (2, 5)
    assert said in capsys.readouterr().err


def better() -> TestRun:
    """A run in which everything is right."""
    return sample_run(
        cases=tuple(replace(case, right=True, score=1.0, why="") for case in CASES[:12])
    )


def test_an_earlier_run_is_shown_beside(
    kept: TestRun, project: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    save_run(project, better())
    assert models_here("report", "1", "--baseline", "2", "--html", "run.html") == 0
    shown = capsys.readouterr()
    assert "right answers" in shown.out
    assert "3 cases that only run 2 has right" in shown.out
    assert 'class="dot before"' in Path("run.html").read_text()
    assert models_here("report", "2", "--baseline", "latest") == 2
    assert "--baseline latest is the run itself" in capsys.readouterr().err


def test_junit_is_for_runs_only(
    kept: TestRun, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("report", "some-experiment", "--junit", "x.xml") == 2
    assert "--junit is for runs of a test suite" in capsys.readouterr().err
    assert not Path("x.xml").exists()


def test_a_page_is_written_only_where_a_file_can_be(
    kept: TestRun, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("report", "1", "--html", ".") == 2
    assert "is a folder" in capsys.readouterr().err
