"""`models config review`: what it prints, and that it judges nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_samples import write_deploy_project


def test_findings_are_a_table_and_no_failure(
    tmp_path: Path,
    models_here: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = write_deploy_project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    assert models_here("config", "review") == 0
    shown = capsys.readouterr()
    assert "performance_profiles/high_accuracy   unused   no domain has it" in shown.out
    assert "0 answers of the last 30 days, so what was never asked is not known" in shown.err
    assert models_here("config", "review", "--days", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["days"], found["answers"]) == (1, 0)
    assert models_here("config", "review", "--env", "production") == 1
    assert "nothing is deployed to production" in capsys.readouterr().err
