"""`models providers compare`: every language model is asked the same suite, and one that cannot be
asked keeps no other from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.performance.store import recent_runs
from suite_projects import MODEL, SuiteProject, cases, open_suite_project

SUITE = cases(*((f"Who leads team {number}?", "Ann" if number else "Bob") for number in range(4)))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SuiteProject]:
    with open_suite_project(tmp_path / "project") as opened:
        opened.suite(SUITE)
        unreached = MODEL.format(endpoint="http://127.0.0.1:9/v1")
        opened.write("language_models/away", unreached)
        keyless = MODEL.format(endpoint=opened.server.url)
        opened.write("language_models/keyless", f"{keyless}api_key: env:NO_SUCH_KEY\n")
        monkeypatch.chdir(opened.project.root)
        yield opened


def test_each_model_has_a_row_and_a_kept_run(
    house: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("providers", "compare", "--json") == 0
    shown = capsys.readouterr()
    found = {one["model"]: one for one in json.loads(shown.out)["models"]}
    assert set(found) == {"away", "basic_nlp", "house", "keyless"}
    accuracy = found["house"]["accuracy"]
    assert (accuracy["right"], accuracy["scored"], accuracy["value"]) == (3, 4, 0.75)
    assert accuracy["low"] < 0.75 < accuracy["high"]
    assert found["house"]["cost_per_request"]["value"] > 0
    assert found["house"]["problem"] is None
    assert "no request was answered" in found["away"]["problem"]
    assert found["away"]["accuracy"] is None
    assert found["away"]["error_rate"]["value"] == 1
    assert "NO_SUCH_KEY" in found["keyless"]["problem"]
    targets = {row.number: row.target for row in recent_runs(house.project)}
    assert targets[found["house"]["run"]] == "model:house"
    assert "quick on model:house in development: 4 requests: 4 cases" in shown.err


def test_the_table_and_what_cannot_be_asked(
    house: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("providers", "compare", "--model", "house", "--model", "away") == 0
    shown = capsys.readouterr()
    row = next(line for line in shown.out.splitlines() if " house " in line)
    assert "75%" in row
    assert " basic_nlp " not in shown.out
    assert "away: no request was answered" in shown.err
    assert models_here("providers", "compare", "--model", "away") == 5
    assert "no language model of development could be asked" in capsys.readouterr().err
    assert models_here("providers", "compare", "--model", "hause") == 2
    assert "did you mean 'house'?" in capsys.readouterr().err
