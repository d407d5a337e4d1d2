"""Many processes at one pointer, and processes killed while they move it."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress

import pytest
from sound_versions import register_sound, require_agreement

from killed import fork, kill_after
from modelyard.adapters.gc import collect_garbage
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.promote import promote_if_allowed, promote_version
from modelyard.adapters.rollback import earlier_versions, roll_back
from modelyard.adapters.versions import (
    active_number,
    highest_number,
    list_versions,
    resolve_version,
    version_numbers,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project

# `make soak` multiplies by ten: see docs/reliability.md.
SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
PROCESSES, SECONDS, KILLS = 16, 1.0 * SOAK, 25 * SOAK


@pytest.fixture
def busy_project(bare_project: Project) -> Project:
    """A project with four versions, of which none is active."""
    for number in range(4):
        register_sound(bare_project, f"run-{number}")
    return bare_project


def move_at_random(project: Project, seed: int, until: float) -> None:
    """Promote and roll back, whatever comes, until that time (of time.monotonic)."""
    chance = random.Random(seed)
    versions = list_versions(project, "demo")
    while time.monotonic() < until:
        if chance.random() < 0.5:
            promote_version(project, chance.choice(versions), wait_s=60)
        else:
            with suppress(ModelyardError):  # nothing was active before
                roll_back(project, "demo", wait_s=60)
        assert resolve_version(project, "demo").number in (1, 2, 3, 4)


def test_many_processes_that_promote_and_roll_back_leave_one_order(busy_project: Project) -> None:
    project = busy_project
    promote_version(project, list_versions(project, "demo")[0])
    until = time.monotonic() + SECONDS
    children = [
        fork(lambda seed=seed: move_at_random(project, seed, until)) for seed in range(PROCESSES)
    ]
    reads = 0
    while time.monotonic() < until:
        assert active_number(project, "demo") in (1, 2, 3, 4)
        reads += 1
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES

    require_agreement(project)
    history = pointer_history(project, "demo")
    for place, move in enumerate(history):
        if move.action == "rollback":
            earlier = earlier_versions(history[:place], move.from_version)
            nearest = next(number for number in earlier if number != move.from_version)
            assert move.to_version == nearest, move
    counts = Counter(move.action for move in history)
    print(f"{PROCESSES} processes, {SECONDS:.0f} s: {counts['promote']} promotions, "
          f"{counts['rollback']} rollbacks, {reads} readings of the link")  # fmt: skip
    assert min(counts.values()) > 1


def test_processes_killed_while_they_move_the_pointer_leave_it_whole(busy_project: Project) -> None:
    project = busy_project
    chance = random.Random(0)
    killed = 0
    for seed in range(KILLS):
        until = time.monotonic() + 60
        killed += kill_after(
            lambda seed=seed, until=until: move_at_random_from_here(project, seed, until),
            chance.uniform(0.0, 0.06),
        )
        require_agreement(project)
        assert {place.name for place in project.trained.glob("[!.]*")} <= {"demo"}
    promote_version(project, list_versions(project, "demo")[1])
    require_agreement(project)
    assert [place.name for place in project.trained.iterdir()] == ["demo"]
    print(f"{killed} kills among {len(pointer_history(project, 'demo'))} moves")
    assert killed == KILLS


def move_at_random_from_here(project: Project, seed: int, until: float) -> None:
    promote_if_allowed(
        project, list_versions(project, "demo")[seed % 4], base=None, force=True, reason="x"
    )
    move_at_random(project, seed, until)


def test_processes_killed_while_they_register_and_remove_never_reuse_a_number(
    bare_project: Project,
) -> None:
    project = bare_project
    chance = random.Random(1)
    seen: dict[int, str] = {}
    killed = 0

    def register_and_remove(seed: int) -> None:
        for index in range(1000):
            version = register_sound(project, f"run-{seed}-{index}")
            if chance.random() < 0.5:
                promote_version(project, version)
            collect_garbage(project, "demo", keep=1)

    for seed in range(KILLS):
        killed += kill_after(lambda seed=seed: register_and_remove(seed), chance.uniform(0.0, 0.08))
        require_agreement(project)
        for version in list_versions(project, "demo"):
            run_key = version.manifest.run_key
            assert seen.setdefault(version.number, run_key) == run_key
        assert highest_number(project, "demo") == max(seen, default=0)
    register_sound(project, "the-last")
    collect_garbage(project, "demo", keep=1)
    assert len(version_numbers(project, "demo")) <= 3
    assert not list(project.adapter_versions("demo").glob(".staging-*"))
    print(f"{killed} kills while {highest_number(project, 'demo')} versions came and went")
    assert killed == KILLS


def test_a_name_that_is_refused_leaves_no_trace(bare_project: Project) -> None:
    before = sorted(bare_project.root.rglob("*"))
    for name in ("..", "/etc", "Demo", "a/b", "a\\b", ".hidden", "-rf"):
        with pytest.raises(InvalidInput):
            pointer_history(bare_project, name)
        with pytest.raises(InvalidInput):
            roll_back(bare_project, name)
        with pytest.raises(InvalidInput):
            collect_garbage(bare_project, name)
    assert sorted(bare_project.root.rglob("*")) == before
