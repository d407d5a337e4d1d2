"""`models budgets` and `models prices check`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.answering.money.ledger import reserve
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.setup.init import init_project

Models = Callable[..., int]
MAX_AGE = ("--max-age", "36500 days")


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A new project, with the configs of this repository."""
    init_project(tmp_path / "starter")
    monkeypatch.chdir(tmp_path / "starter")
    return Project(tmp_path / "starter")


def spend(project: Project, organisation: str | None, cost_usd: float | None) -> None:
    reservation = reserve(
        project,
        environment="development",
        organisation=organisation,
        answer_id="a1",
        budgets=Budgets(),
        max_cost_usd=None,
        worst_usd=None if cost_usd is None else 0.5,
        lease_s=600,
    )
    if cost_usd != 0.5:
        reservation.settle(cost_usd)


def test_budgets_show_what_is_spent_reserved_and_left(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    spend(starter, "acme", 0.2)
    spend(starter, "other", 0.1)
    spend(starter, None, 0.05)
    spend(starter, "acme", 0.5)
    assert models_here("budgets", "--json") == 0
    day, month, *organisations = json.loads(capsys.readouterr().out)["budgets"]
    assert day == {
        **{"organisation": None, "period": time.strftime("%Y-%m-%d", time.gmtime())},
        **{"spent_usd": 0.35, "reserved_usd": 0.5, "limit_usd": 2.0, "left_usd": 1.15},
        "is_near": False,
        "unknown": 0,
    }
    assert (month["spent_usd"], month["limit_usd"], month["left_usd"]) == (0.35, 20.0, 19.15)
    shown = [(row["organisation"], row["spent_usd"], row["left_usd"]) for row in organisations]
    assert shown == [
        *[("acme", 0.2, 0.3), ("acme", 0.2, None)],
        *[("other", 0.1, 0.9), ("other", 0.1, None)],
    ]
    assert models_here("budgets", "--org", "acme") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "acme" in line] == [
        ["acme", day["period"], "$0.20", "$0.50", "$0.30", "$1.00"],
        ["acme", month["period"], "$0.20", "$0.50", "no", "limit"],
    ]
    assert models_here("budgets", "--org", "../acme") == 2
    assert "'../acme' is not a valid organisation name" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["budgets", "budgets --json", "monitor --metrics cost,usage"])
def test_a_budget_that_is_nearly_spent_is_warned_of(
    line: str, starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*line.split(), *(("--allow-no-data", "cost") if "monitor" in line else ()))
    spend(starter, "acme", 0.79)
    assert models_here(*words) == 0
    assert "warning" not in capsys.readouterr().err
    spend(starter, "acme", 0.02)
    assert models_here(*words) == 0
    day = time.strftime("%Y-%m-%d", time.gmtime())
    said = f"warning: $0.81 of $1.00 are spent of the budget of acme for {day} in development"
    warnings = [text for text in capsys.readouterr().err.splitlines() if "warning" in text]
    assert warnings == [said]


def test_a_cost_that_is_not_known_is_said_and_not_counted(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    spend(starter, None, None)
    assert models_here("budgets") == 0
    captured = capsys.readouterr()
    assert "$0.00" in captured.out
    assert "the cost of 1 answer is unknown, and in none of these figures" in captured.err


def test_an_environment_where_nothing_is_deployed_has_no_budgets(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("budgets", "--env", "production") == 1
    assert "nothing is deployed to production" in capsys.readouterr().err
    assert models_here("deploy-config", "integration.yaml", "--env", "production", "--yes") == 0
    capsys.readouterr()
    assert models_here("budgets", "--env", "production", "--json") == 0
    day, month = json.loads(capsys.readouterr().out)["budgets"]
    assert (day["limit_usd"], month["limit_usd"]) == (50.0, 1000.0)


@pytest.mark.usefixtures("starter")
@pytest.mark.parametrize("environment", ["development", "test", "production"])
def test_the_prices_that_a_new_project_begins_with_are_right(
    environment: str, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    if environment != "development":
        assert models_here("deploy-config", "--all", "--env", environment, "--yes") == 0
    assert models_here("prices", "check", "--env", environment, *MAX_AGE) == 0
    capsys.readouterr()
    assert models_here("prices", "check", "--env", environment, *MAX_AGE, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {model["model"]: model["state"] for model in found["models"]} == {
        "claude": "same",
        "gpt4": "same",
    }


def test_a_wrong_price_in_use_is_a_breach_and_another_is_only_shown(
    starter: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = starter.configs / "language_models" / "claude_config.yaml"
    draft.write_text(
        draft.read_text().replace("output_per_million: $5.00", "output_per_million: $4")
    )
    assert models_here("prices", "check", *MAX_AGE) == 0
    assert "output_per_million $4.00, listed $5.00" in capsys.readouterr().out
    joint = starter.configs / "integration.yaml"
    joint.write_text(joint.read_text().replace("language: local_llm", "language: claude"))
    assert models_here("prices", "check", *MAX_AGE) == 4
    assert "claude (different)" in capsys.readouterr().err


@pytest.mark.usefixtures("starter")
def test_an_old_list_is_no_proof(models_here: Models, capsys: pytest.CaptureFixture[str]) -> None:
    assert models_here("prices", "check", "--max-age", "1 s") == 5
    assert "gpt4" in capsys.readouterr().err
    assert models_here("prices", "check", "--max-age", "soon") == 2
