"""Deployments that are killed, and many at once: old or new, whole, and without gaps."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from deploy_samples import (
    deploy_config,
    edit,
    left_over,
    live_number,
    require_agreement,
    rollback,
    switch_config,
    undo_switch,
    write_deploy_project,
)
from killed import SOAK, fork, interruptions, kill_after
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.deployments.deploy import Deployment, perform
from modelyard.deployments.effective import load_effective
from modelyard.deployments.plan import Request
from modelyard.deployments.revisions import list_revisions, load_revision, load_snapshot

PROCESSES = 20
SECONDS = 0.5 if SOAK == 1 else 10.0
KILLS = 15 * SOAK

Work = Callable[[Project], Deployment]
WORKS: dict[str, Work] = {
    "deploy": lambda place: deploy_config(place, ["gpt4"], environment="test"),
    "switch": lambda place: switch_config(
        place, profile="balanced", domain="summarization", environment="test"
    ),
    "undo": lambda place: undo_switch(place, environment="test"),
    "rollback": lambda place: rollback(place, environment="test"),
    "remove": lambda place: perform(
        place, Request(action="remove", configs=("performance_profiles/spare",)), "test"
    ),
}
CUTS = [(action, how) for action in WORKS for how in ("kill", "fail")][:-1]
"""The same code makes each revision live, so the last is only killed."""


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project with three revisions, and a change of one config that is not deployed yet."""
    project = write_deploy_project(tmp_path / "project")
    spare = project.configs / "performance_profiles/spare.yaml"
    spare.write_text("description: For nobody yet\ntimeout: 10 seconds\n")
    deploy_config(project, environment="test", every_config=True)
    switch_config(project, profile="high_accuracy", domain="code_analysis", environment="test")
    switch_config(project, profile="high_accuracy", domain="summarization", environment="test")
    edit(project, "language_models/gpt4_config", "60 seconds", "61 seconds")
    return project


def unsettled(place: Project) -> int:
    with open_state(place) as state:
        query = "SELECT count(*) FROM config_revisions WHERE settled = 0"
        return int(state.execute(query).fetchone()[0])


def put_back(place: Project, start: Path) -> None:
    shutil.rmtree(place.local_state)
    shutil.copytree(start, place.local_state, symlinks=True)


@pytest.mark.parametrize(("action", "how"), CUTS)
def test_what_is_cut_off_at_any_call_leaves_the_old_or_the_new_and_is_completed(
    place: Project, tmp_path: Path, action: str, how: Literal["kill", "fail"]
) -> None:
    work = WORKS[action]
    start = tmp_path / "start"
    shutil.copytree(place.local_state, start, symlinks=True)
    work(place)
    expected = load_revision(place, "test").digest
    put_back(place, start)
    old = completed = 0
    for number in interruptions(lambda: work(place), how):
        require_agreement(place)
        effective = load_effective("test", "code_analysis", project=place)
        assert effective.revision == live_number(place)
        if live_number(place) == 3 or unsettled(place):
            old += live_number(place) == 3
            completed += work(place).completed
        assert live_number(place) == 4, number
        last = load_revision(place, "test")
        assert (last.digest, last.action) == (expected, action), number
        assert unsettled(place) == 0
        require_agreement(place)
        # What was done but for the sweeping is swept by the next.
        edit(place, "language_models/claude_config", "Long texts", "Longer texts")
        deploy_config(place, ["claude"], environment="test")
        edit(place, "language_models/claude_config", "Longer texts", "Long texts")
        assert left_over(place) == [], number
        put_back(place, start)
    assert number > 30
    assert old > 1
    assert not completed or action in ("undo", "rollback")


@pytest.mark.parametrize("action", ["undo", "rollback"])
def test_going_back_that_was_cut_off_after_the_rename_is_completed_and_not_done_twice(
    place: Project, action: str
) -> None:
    done = WORKS[action](place)
    with open_state(place) as state:
        state.execute("UPDATE config_revisions SET settled = 0 WHERE revision = 4")
    assert live_number(place) == 4
    again = WORKS[action](place)
    assert (again.completed, again.revision) == (True, done.revision)
    assert again.plan.profiles == done.plan.profiles
    assert unsettled(place) == 0
    assert not WORKS[action](place).completed
    assert live_number(place) == 5


def test_a_row_whose_link_never_moved_was_never_live(place: Project) -> None:
    rollback(place, environment="test")
    with open_state(place) as state:
        state.execute("UPDATE config_revisions SET settled = 0 WHERE revision = 4")
    link = place.deployed("test")
    link.unlink()
    link.symlink_to(".revisions/test-3")
    assert live_number(place) == 3
    assert [revision.number for revision in list_revisions(place, "test")] == [1, 2, 3]
    done = deploy_config(place, ["gpt4"], environment="test")
    assert done.revision is not None
    assert (done.revision.number, done.revision.action) == (4, "deploy")
    require_agreement(place)
    assert left_over(place) == []


def test_the_first_deployment_that_is_cut_off_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    place = write_deploy_project(tmp_path / "project")
    for number in interruptions(lambda: WORKS["deploy"](place), "kill"):
        require_agreement(place)
        assert live_number(place) in (0, 1)
        WORKS["deploy"](place)
        assert live_number(place) == 1, number
        require_agreement(place)
        shutil.rmtree(place.local_state)
    assert number > 30


def write_pair(place: Project, name: str, said: str) -> None:
    """A language model and a domain that both say this."""
    model = json.dumps({"description": said, "provider": "builtin", "model": "x",
                        "context_tokens": 100, "max_output_tokens": 10})  # fmt: skip
    domain = json.dumps({"description": said, "model": name, "instructions": said})
    for kind, text in (("language_models", model), ("specialized_models", domain)):
        (place.configs / kind / f"{name}.yaml").write_text(text)


def deploy_pairs(place: Project, name: str, until: float, record: Path) -> None:
    """Deploy one pair after the other until that time, and note what went live as which number.

    At least one, however busy the machine is.
    """
    done: dict[int, str] = {}
    while not done or time.monotonic() < until:
        said = f"{name} says {len(done)}"
        write_pair(place, name, said)
        found = deploy_config(
            place,
            [f"language_models/{name}", f"specialized_models/{name}"],
            environment="test",
            wait_s=120,
        )
        assert found.revision is not None
        done[found.revision.number] = said
    record.write_text(json.dumps(done))


def read_pairs(place: Project, names: list[str], until: float) -> None:
    """Ask for the domains until that time: what they say and what their models say is one."""
    last = 0
    while time.monotonic() < until:
        for name in names:
            found = load_effective("test", name, project=place)
            assert found.instructions == found.model.settings.description
            assert found.revision >= last
            last = found.revision


def test_many_processes_that_deploy_at_once_make_whole_revisions_without_gaps(
    tmp_path: Path,
) -> None:
    place = write_deploy_project(tmp_path / "project")
    names = [f"p{number}" for number in range(PROCESSES)]
    for name in names:
        write_pair(place, name, f"{name} says nothing")
    deploy_config(place, environment="test", every_config=True)
    until = time.monotonic() + SECONDS
    writers = [
        fork(lambda name=name: deploy_pairs(place, name, until, tmp_path / f"{name}.json"))
        for name in names
    ]
    readers = [fork(lambda: read_pairs(place, names, until)) for _ in range(2)]
    assert [os.waitpid(child, 0)[1] for child in (*writers, *readers)] == [0] * (PROCESSES + 2)

    said: dict[int, tuple[str, str]] = {}
    for name in names:
        for number, text in json.loads((tmp_path / f"{name}.json").read_text()).items():
            assert said.setdefault(int(number), (name, text)) == (name, text)
    revisions = list_revisions(place, "test")
    assert [item.number for item in revisions] == list(range(1, len(said) + 2))
    live: dict[str, Any] = {name: f"{name} says nothing" for name in names}
    for revision in revisions[1:]:
        name, text = said[revision.number]
        live[name] = text
        configs = load_snapshot(place, "test", revision.number).configs
        assert {
            item: configs[f"specialized_models/{item}"].values["instructions"] for item in names
        } == live
        assert {
            item: configs[f"language_models/{item}"].values["description"] for item in names
        } == live
    require_agreement(place)
    assert left_over(place) == []
    print(f"{PROCESSES} processes, {SECONDS:g} s: {len(said)} revisions without a gap")
    assert len(said) >= PROCESSES


def test_processes_killed_at_any_moment_leave_the_environment_whole(place: Project) -> None:
    def work(seed: int) -> None:
        for turn in range(1000):
            profile = "balanced" if (turn + seed) % 2 else "high_accuracy"
            switch_config(place, profile=profile, environment="test")
            if turn % 3 == 2:
                rollback(place, environment="test")

    killed = 0
    for seed in range(KILLS):
        killed += kill_after(lambda seed=seed: work(seed), 0.02 + 0.08 * (seed % 15) / 15)
        require_agreement(place)
    deploy_config(place, ["gpt4"], environment="test")
    require_agreement(place)
    assert left_over(place) == []
    print(f"{killed} kills among {live_number(place)} revisions")
    assert killed == KILLS
