"""Kept runs: what is kept is whole, numbers go on, and what is damaged is said to be."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from killed import interruptions
from modelyard.core.errors import InvalidInput, ModelyardError, NoData, ProblemsFound
from modelyard.core.files import json_text
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.performance.accuracy import accuracy
from modelyard.performance.results import CaseResult, RunFigure, TestRun
from modelyard.performance.store import RunDamaged, load_run, recent_runs, save_run
from modelyard.results.json_form import to_json

CASE = CaseResult(
    check="people",
    case="0123456789ab",
    repeat=0,
    tags=("hr",),
    question="Who leads \u202esales?",
    expected="Ann",
    answer="Ann.",
    score=1.0,
    right=True,
    outcome="answered",
    model="house",
    latency_s=0.25,
    cost_usd=None,
    started_s=0.0,
    ended_s=0.25,
)
RUN = TestRun(
    suite="quick",
    suite_digest="0" * 12,
    environment="development",
    target="primary",
    models=("house",),
    started_at="2026-11-30T12:00:00Z",
    finished_at="2026-11-30T12:00:01Z",
    seed=0,
    repeats=1,
    concurrency=1,
    confidence=0.95,
    wall_s=1.0,
    requests=1,
    right=1,
    scored=1,
    figures=(RunFigure(name="accuracy", unit="share", value=1.0, low=0.2, high=1.0, n=1),),
    cases=(CASE,),
    base_cases=(replace(CASE, right=None, score=None),),
    machine="a processor, 2 cores",
    version="0.1.0",
    verdict="cannot_tell",
    notes=("Said.",),
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.configs.mkdir(parents=True)
    made.models.mkdir()
    return made


def test_a_run_comes_back_as_it_was_and_only_its_owner_reads_it(project: Project) -> None:
    kept = save_run(project, RUN)
    assert kept == replace(RUN, number=1)
    assert load_run(project, "1") == load_run(project, "latest") == kept
    assert project.test_run(1).stat().st_mode & 0o777 == 0o600
    elsewhere = project.root / "copy.json"
    shutil.copy(project.test_run(1), elsewhere)
    assert load_run(project, str(elsewhere)) == kept


def test_the_latest_is_the_latest_whole_run_of_its_kind(project: Project) -> None:
    for changes in ({}, {"suite": "slow"}, {"complete": False}, {"target": "domain:x"}):
        save_run(project, replace(RUN, **changes))  # type: ignore[arg-type]
    assert [row.number for row in recent_runs(project)] == [4, 3, 2, 1]
    assert [row.number for row in recent_runs(project, suite="quick", target="primary")] == [3, 1]
    latest = load_run(project, "latest", suite="quick", target="primary")
    assert latest.number == 1
    (row,) = recent_runs(project, suite="slow")
    assert (row.right, row.scored, row.verdict, row.complete) == (1, 1, "cannot_tell", True)


def test_what_is_no_run_is_said_to_be_none(project: Project, tmp_path: Path) -> None:
    with pytest.raises(NoData, match="no such run"):
        load_run(project, "latest")
    with pytest.raises(InvalidInput, match="no test run 7"):
        load_run(project, "7")
    with pytest.raises(InvalidInput, match="neither the number"):
        load_run(project, "nothing.json")
    other = tmp_path / "other.json"
    other.write_text('{"suite": "quick"}')
    with pytest.raises(InvalidInput) as refused:
        load_run(project, str(other))
    assert any("required" in problem.message for problem in refused.value.problems)


def test_a_damaged_file_is_not_believed(project: Project) -> None:
    save_run(project, RUN)
    path = project.test_run(1)
    path.write_text(path.read_text().replace('"pass"', '"breach"').replace("Ann.", "Bob."))
    with pytest.raises(RunDamaged, match="not as it was written"):
        load_run(project, "1")
    path.unlink()
    with pytest.raises(RunDamaged, match="cannot be read"):
        load_run(project, "1")


def test_a_run_of_a_later_version_is_read(project: Project) -> None:
    path = project.root / "later.json"
    path.write_text(json_text(to_json(RUN) | {"mood": "good"}))
    assert load_run(project, str(path)) == RUN


def test_writers_at_the_same_time_get_numbers_of_their_own(project: Project) -> None:
    numbers: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(save_run(project, RUN).number))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number or 0 for number in numbers) == list(range(1, 9))


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_run_that_is_being_kept_is_there_whole_or_not_at_all(project: Project, how: str) -> None:
    save_run(project, RUN)
    before = project.root.parent / "before"
    shutil.copytree(project.root, before)
    for _ in interruptions(lambda: save_run(project, RUN), how):  # type: ignore[arg-type]
        rows = recent_runs(project)
        assert [row.number for row in rows] in ([1], [2, 1])
        for row in rows:
            assert load_run(project, str(row.number)).cases == RUN.cases
        following = save_run(project, RUN)
        assert following.number == len(rows) + 1
        assert load_run(project, "latest") == following
        names = {path.name for path in project.test_run(1).parent.iterdir()}
        assert names == {f"{number}.json" for number in range(1, len(rows) + 2)}
        shutil.rmtree(project.root)
        shutil.copytree(before, project.root)


def test_a_disk_that_cannot_be_written_is_said(project: Project) -> None:
    save_run(project, RUN)
    project.test_run(1).parent.rename(project.root / "moved")
    project.test_run(1).parent.write_text("in the way")
    with pytest.raises(ModelyardError):
        save_run(project, RUN)
    assert [row.number for row in recent_runs(project)] == [1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"confidence": 7.0}, "'confidence' must be between 0 and 1"),
        ({"started_at": "yesterday"}, "'started_at' must be a time"),
        ({"started_at": "2026-11-30"}, "'started_at' must be a time"),
        ({"repeats": 0}, "'repeats' must be at least 1"),
        ({"wall_s": -1.0}, "'wall_s' must be a number of seconds"),
        ({"cases": (replace(CASE, weight=0.0),)}, "'cases[0].weight' must be above 0"),
        ({"cases": (CASE, replace(CASE, latency_s=1e308))}, "'cases[1].latency_s' must be"),
        ({"base_cases": (replace(CASE, cost_usd=-1.0),)}, "'base_cases[0].cost_usd' must be"),
        ({"cases": (replace(CASE, score=2.0),) * 30}, "and 20 more"),
        ({"figures": (replace(RUN.figures[0], high=1e300),)}, "'figures[0].high' must be"),
        ({"figures": (replace(RUN.figures[0], n=-1),)}, "'figures[0].n' must be"),
    ],
)
def test_a_file_with_numbers_that_no_run_has_is_refused(
    project: Project, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = tmp_path / "given.json"
    path.write_text(json_text(to_json(replace(RUN, **changed))))  # type: ignore[arg-type]
    with pytest.raises(ProblemsFound) as refused:
        load_run(project, str(path))
    assert any(said in problem.message for problem in refused.value.problems)


def test_the_accuracy_of_a_run_is_kept_with_its_interval(project: Project) -> None:
    save_run(project, RUN)
    save_run(project, replace(RUN, figures=()))
    rows = read_state(project, "SELECT accuracy, accuracy_low, accuracy_high FROM test_runs")
    assert [tuple(row) for row in rows] == [(1.0, 0.2, 1.0), (None, None, None)]


def test_the_interval_in_the_list_is_one_of_95_percent_whatever_the_suite_says(
    project: Project,
) -> None:
    cases = tuple(replace(CASE, case=f"{place}", right=place > 3) for place in range(10))
    shown = accuracy(cases, 0.9)
    save_run(project, replace(RUN, confidence=0.9, cases=cases, figures=(shown,)))
    [row] = read_state(project, "SELECT accuracy, accuracy_low, accuracy_high FROM test_runs")
    wide = accuracy(cases, 0.95)
    assert tuple(row) == (wide.value, wide.low, wide.high)
    assert wide.low is not None
    assert shown.low is not None
    assert wide.low < shown.low
