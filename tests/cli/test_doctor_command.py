"""`models doctor` tells people and programs what this machine can do, in a project or not."""

from __future__ import annotations

import json

import pytest

from modelyard.cli.doctor import doctor
from modelyard.core.layout import Project


def test_it_says_what_is_missing_outside_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    doctor()
    printed = capsys.readouterr().out
    assert "GFLOP/s, measured" in printed
    assert "a project, needed for" in printed
    assert "models init DIR" in printed


def test_json_has_the_documented_shape(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(as_json=True)
    value = json.loads(capsys.readouterr().out)
    keys = ["machine", "versions", "places", "project", "file_systems", "sharing", "bases"]
    assert list(value) == [*keys, "missing"]
    (found,) = value["file_systems"]
    assert [each["refusal"] for each in found["capabilities"]] == [None] * 5
    assert value["project"] == str(project.root)
    assert value["machine"]["precision"] in ("bf16", "fp32")
