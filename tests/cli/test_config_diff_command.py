"""`models config diff`: two configs, two revisions, two environments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_validate_config_command import BUILTIN, MODEL, PLACE, Models, project, write

__all__ = ["project"]  # the fixture

SLOW = """\
timeout: 60 seconds
retries:
  attempts: 5
environments:
  production:
    timeout: 90 seconds
"""


@pytest.fixture(autouse=True)
def slow(project: Path) -> Path:
    return write(project / PLACE / "slow.yaml", MODEL.format(fallback="end") + SLOW)


def difference(models: Models, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert models("config", "diff", *words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == {"before", "after", "configs", "profiles"}
    return found


def deploy(models: Models, *words: str) -> None:
    assert models("deploy-config", *words, "--yes") == 0


def test_two_configs_differ_in_what_holds_and_not_in_how_it_is_written(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    found = difference(models, capsys, "good", "slow")
    (config,) = found["configs"]
    assert (config["config"], config["change"]) == ("language_models/slow", "changed")
    assert config["settings"] == [
        {"key": "retries.attempts", "change": "changed", "before": 2, "after": 5}
    ]


def test_each_side_may_be_in_an_environment_of_its_own(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    found = difference(models, capsys, "slow@test", "slow@production")
    assert found["before"] == f"{PLACE}/slow.yaml in test"
    assert found["configs"][0]["settings"] == [
        {"key": "timeout", "change": "changed", "before": "60 seconds", "after": "90 seconds"}
    ]


def test_a_side_without_an_environment_has_no_overlay(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    found = difference(models, capsys, "slow", "slow@production")
    assert (found["before"], found["after"]) == (
        f"{PLACE}/slow.yaml",
        f"{PLACE}/slow.yaml in production",
    )
    assert [setting["key"] for setting in found["configs"][0]["settings"]] == ["timeout"]


def test_env_is_that_of_a_side_that_names_none(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    found = difference(models, capsys, "slow@test", "slow", "--env", "production")
    assert found["configs"][0]["settings"][0]["after"] == "90 seconds"


def test_equal_sides_are_said_to_be_the_same(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "diff", "slow", "slow@test") == 0
    assert "are the same" in capsys.readouterr().out
    assert difference(models, capsys, "slow", "slow")["configs"] == []


def test_people_see_before_and_after_in_a_table(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "diff", "slow@test", "slow@production") == 0
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if "timeout" in line]
    assert row.split("   ")[0].strip() == "timeout"
    assert row.index("60 seconds") < row.index("90 seconds")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slow", "nothing"], "there is no config 'nothing'"),
        (["slow", "slow@tset"], "there is no environment 'tset' (did you mean 'test'?)"),
        (["production@x", "slow"], "'x' is not the number of a revision"),
        (["production@1", "slow"], "nothing is deployed to production"),
    ],
)
def test_a_side_that_is_nothing_is_an_error_that_says_so(
    models: Models, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert models("config", "diff", *words) in (1, 2)
    assert message in capsys.readouterr().err


def test_configs_of_two_kinds_are_not_compared(
    models: Models, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    write(project / "configs" / "fine_tuning" / "small.yaml", "seed: 1\n")
    assert models("config", "diff", "slow", "small") == 2
    assert "compare configs of one kind" in capsys.readouterr().err


def test_a_config_that_is_not_valid_is_not_compared(
    models: Models, capsys: pytest.CaptureFixture[str], slow: Path
) -> None:
    slow.write_text(slow.read_text() + "timout: 1 s\n")
    assert models("config", "diff", "good", "slow") == 2
    assert "unknown key 'timout'" in capsys.readouterr().err


def test_two_revisions_and_two_environments_and_a_file_are_compared(
    models: Models, capsys: pytest.CaptureFixture[str], slow: Path
) -> None:
    deploy(models, "slow", "--env", "production")
    slow.write_text(slow.read_text().replace("attempts: 5", "attempts: 7"))
    deploy(models, "slow", "good", "--env", "production")
    deploy(models, "slow", "--env", "test")
    slow.write_text(slow.read_text().replace("attempts: 7", "attempts: 9"))
    capsys.readouterr()

    revisions = difference(models, capsys, "production@1", "production@2")
    assert [(config["config"], config["change"]) for config in revisions["configs"]] == [
        ("language_models/good", "added"),
        ("language_models/slow", "changed"),
    ]
    assert revisions["configs"][1]["settings"] == [
        {"key": "retries.attempts", "change": "changed", "before": 5, "after": 7}
    ]

    environments = difference(models, capsys, "production", "test")
    assert (environments["before"], environments["after"]) == ("production@2", "test@1")
    assert [(config["config"], config["change"]) for config in environments["configs"]] == [
        ("language_models/good", "removed"),
        ("language_models/slow", "changed"),
    ]
    changed = environments["configs"][1]["settings"]
    assert [item["key"] for item in changed] == ["timeout"]

    file = difference(models, capsys, "production", "slow")
    assert file["after"] == f"{PLACE}/slow.yaml in production"
    assert [
        (setting["before"], setting["after"]) for setting in file["configs"][0]["settings"]
    ] == [(7, 9)]


def test_a_config_that_is_not_deployed_cannot_be_compared_with_what_is(
    models: Models, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    write(project / PLACE / "end.yaml", BUILTIN)
    deploy(models, "end", "--env", "test")
    assert models("config", "diff", "slow", "test") == 2
    assert "language_models/slow is not deployed in test@1" in capsys.readouterr().err
