"""`models ab status` and `stop`, and `models monitor --by variant`, as a person sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_samples import deploy_config, edit, live_number, write_deploy_project
from modelyard.core.clock import utc_now_ms
from modelyard.core.layout import Project
from modelyard.records.spool import Recorder
from traffic_samples import numbered

Models = Callable[..., int]
TEST = """\
  ab_test:
    name: trial
    domains: [code_analysis]
    a: {}
    b: {model: claude, share: 20%}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = write_deploy_project(tmp_path / "project")
    edit(project, "integration", "  budgets:\n", f"{TEST}  budgets:\n")
    deploy_config(project, every_config=True, environment="production")
    monkeypatch.chdir(project.root)
    return project


def test_it_says_what_runs_and_which_side_is_better(
    place: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(place)
    for number in range(24):
        side, outcome = ("a", "failed") if number % 2 else ("b", "answered")
        values = {"variant": f"trial/{side}", "outcome": outcome, "environment": "production"}
        recorder.record(numbered(number, answered_at_ms=utc_now_ms() - 1000 + number, **values))
    recorder.close()
    assert models_here("ab", "status", "--env", "production") == 0
    printed = capsys.readouterr().out
    assert "80%: as the configs say" in printed
    assert "20%: model claude" in printed
    assert "trial/a: 12 requests, 12 errors; 0 of 0 rated good" in printed
    assert "b has fewer errors: 12 pairs, only a good in 0, only b in 12" in printed
    assert "It cannot be told which one is rated good more often: there is no pair" in printed
    words = ("monitor", "--env", "production", "--by", "variant")
    models_here(*words)
    assert "b has fewer errors: 12 pairs" in capsys.readouterr().out
    models_here(*words, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["ab_test"]["errors"]["better"] == "b"
    assert {group["name"] for group in report["groups"]} == {"trial/a", "trial/b"}


def test_a_dry_run_says_all_and_changes_nothing(
    place: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (place.configs / "integration.yaml").read_text()
    assert models_here("ab", "stop", "--keep", "B", "--env", "production", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert (
        "configs/specialized_models/code_analysis.yaml would change, for all environments: "
        "model: claude" in printed
    )
    assert "configs/integration.yaml would change, for all environments: without ab_test" in printed
    assert "~ specialized_models/code_analysis" in printed
    assert "Nothing was changed: trial still runs in production." in printed
    assert (live_number(place, "production"), before) == (
        1,
        (place.configs / "integration.yaml").read_text(),
    )


def test_the_end_of_a_test_is_a_deployment(
    place: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("ab", "stop", "--keep", "b", "--env", "production")
    assert models_here(*words) == 2
    assert "needs a confirmation" in capsys.readouterr().err
    assert "ab_test" in (place.configs / "integration.yaml").read_text()
    assert models_here(*words, "--yes", "--reason", "fewer errors", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kept"], found["revision"], found["dry_run"]) == ("b", 2, False)
    assert models_here("deployments", "--env", "production") == 0
    assert "fewer errors" in capsys.readouterr().out
    assert models_here("ab", "status", "--env", "production") == 1
    assert "no A/B test runs in production" in capsys.readouterr().err


def test_in_development_only_the_drafts_change(
    place: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("ab", "stop", "--keep", "a") == 0
    assert "trial has ended in development, and a is the config." in capsys.readouterr().out
    assert "ab_test" not in (place.configs / "integration.yaml").read_text()
    assert live_number(place, "production") == 1
    assert models_here("ab", "status", "--env", "production") == 0
