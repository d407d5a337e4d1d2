"""Whenever a push or a pull dies, and however many there are at once, nothing is half there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from registry_cut_off import latest_in
from registry_samples import add_version, make_project, registry_at, whole_versions

from modelyard.adapters.registry.prune import delete_version, prune_registry
from modelyard.adapters.registry.pull import pull_version
from modelyard.adapters.registry.push import push_version
from modelyard.adapters.registry.registry import find_remote_version
from modelyard.adapters.versions import load_version
from modelyard.core.files import remove_folder
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from s3_server import BUCKET, serving_guarded_s3

# `make soak` multiplies by ten: see docs/reliability.md.
SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
KILLS = 3 if SOAK == 1 else 6 * SOAK
ROUNDS = 6 * SOAK

TESTS = Path(__file__).parent


def start(project: Project, *words: str, **variables: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "modelyard",
        "--project",
        str(project.root),
        "adapters",
        *words,
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output = "".join(process.communicate(timeout=60))
    assert process.returncode == 0, output
    return output


@pytest.fixture
def pushed_once(tmp_path: Path) -> Path:
    """Projects `here` (demo@1 and demo@2) and `there` (demo@1), and a `store` with demo@1."""
    here, there = make_project(tmp_path / "here"), make_project(tmp_path / "there")
    registry = registry_at(tmp_path / "store")
    push_version(here, add_version(here, "run-1"), registry, progress=Silent())
    pull_version(there, registry, find_remote_version(registry, "demo"), progress=Silent())
    add_version(here, "run-2", size_bytes=3_000_000)
    return tmp_path


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("action", ["push", "pull", "remove"])
def test_cut_off_at_any_call_leaves_old_or_new_and_the_same_again_completes_it(
    pushed_once: Path, action: str, how: str
) -> None:
    if action == "pull":
        here = Project(pushed_once / "here")
        finish(start(here, "push", "demo@2", (pushed_once / "store").as_uri()))
    if action == "remove":
        prepare_removal(pushed_once)
    # The samples beside this file, those of all adapters, and tests/killed.py.
    folders = [str(TESTS), str(TESTS.parent), str(TESTS.parent.parent)]
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(TESTS / "registry_cut_off.py"), action, how, str(pushed_once)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    said, number = done.stdout.splitlines()
    print(f"{action} {said}")
    assert int(number) > (25 if action == "remove" else 40)


def prepare_removal(folder: Path) -> None:
    """Push demo@2 and other@1, delete the latter, and give its files up, two hours ago."""
    here, store = Project(folder / "here"), folder / "store"
    registry = registry_at(store)
    push_version(here, load_version(here, "demo", 2), registry, progress=Silent())
    push_version(here, add_version(here, "run-1", adapter="other"), registry, progress=Silent())
    delete_version(registry, "other@1")
    assert prune_registry(registry).given_up_files == 1
    (mark,) = (store / "retired").glob("*.json")
    os.utime(mark, (time.time() - 7200, time.time() - 7200))


def kill_at_random(process: subprocess.Popen[str], most_s: float, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, most_s))
    process.kill()
    process.communicate(timeout=60)


def test_pushes_killed_at_random_moments_leave_old_or_new(pushed_once: Path) -> None:
    here, store = Project(pushed_once / "here"), pushed_once / "store"
    chance = random.Random(5)
    began = time.monotonic()
    finish(start(here, "push", "demo@2", store.as_uri()))
    whole_s = time.monotonic() - began
    came_through = 0
    for number in range(3, 3 + KILLS):
        add_version(here, f"run-{number}", size_bytes=20_000_000)
        process = start(here, "push", f"demo@{number}", store.as_uri())
        kill_at_random(process, 1.5 * whole_s, chance)
        latest = latest_in(store)
        assert latest in (number - 1, number)
        came_through += latest == number
        finish(start(here, "push", f"demo@{number}", store.as_uri()))
        assert latest_in(store) == number
        remove_folder(here.adapter_version("demo", number))
    print(f"{KILLS} killed pushes, of which {came_through} had come to their end")


def test_pulls_killed_at_random_moments_leave_old_or_new(pushed_once: Path) -> None:
    here, there = Project(pushed_once / "here"), Project(pushed_once / "there")
    url = (pushed_once / "store").as_uri()
    chance = random.Random(6)
    version = add_version(here, "run-3", size_bytes=40_000_000)
    finish(start(here, "push", version.name, url))
    began = time.monotonic()
    finish(start(there, "pull", version.name, url))
    whole_s = time.monotonic() - began
    came_through = 0
    for _ in range(KILLS):
        remove_folder(there.adapter_version("demo", 3))
        kill_at_random(start(there, "pull", version.name, url), 1.2 * whole_s, chance)
        numbers = whole_versions(there)
        assert numbers in ([1], [1, 3])
        came_through += numbers == [1, 3]
        finish(start(there, "pull", version.name, url))
        assert whole_versions(there) == [1, 3]
    print(f"{KILLS} killed pulls, of which {came_through} had come to their end")


@pytest.fixture(params=["file", "s3"])
def shared_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """The address of a registry, and the folder in which its objects lie."""
    if request.param == "file":
        yield (tmp_path / "store").as_uri(), tmp_path / "store"
        return
    with serving_guarded_s3(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server.url, tmp_path / "s3" / BUCKET / "team" / "adapters"


PUSH_TOGETHER = """
import sys, time
from pathlib import Path
from modelyard.adapters.registry.push import push_version
from modelyard.adapters.registry.registry import VersionTaken, open_registry
from modelyard.adapters.versions import list_adapters, list_versions
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
url, root, meeting, many = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
project = Project(root)
registry = open_registry(url, make=True)
for adapter in list_adapters(project):
    version, = list_versions(project, adapter)
    (meeting / f"{adapter}-{root.name}").touch()
    while len(list(meeting.glob(f"{adapter}-*"))) < many:
        time.sleep(0.001)
    try:
        push_version(project, version, registry, progress=Silent(), active=True)
        print("won", adapter)
    except VersionTaken:
        print("taken", adapter)
"""


def push_together(url: str, projects: list[Project], meeting: Path) -> list[list[str]]:
    """Each project pushes its one version of every adapter, at the same moment as the others."""
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUSH_TOGETHER, url, project.root, meeting, str(len(projects))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for project in projects
    ]
    return [finish(process).splitlines() for process in processes]


def test_of_two_versions_of_one_number_pushed_at_once_one_is_refused(
    shared_store: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = shared_store
    projects = [make_project(tmp_path / name) for name in ("left", "right")]
    for round_ in range(ROUNDS):
        for project in projects:
            add_version(project, project.root.name, adapter=f"round-{round_}")
    said = push_together(url, projects, tmp_path / "meeting")
    for round_ in range(ROUNDS):
        adapter = f"round-{round_}"
        won = [
            project
            for project, lines in zip(projects, said, strict=True)
            if f"won {adapter}" in lines
        ]
        lost = [line for lines in said for line in lines if line == f"taken {adapter}"]
        assert (len(won), len(lost)) == (1, 1)
        record = json.loads((folder / "adapters" / adapter / "versions" / "1.json").read_bytes())
        whole = (won[0].adapter_version(adapter, 1) / "MANIFEST.json").read_text()
        assert record["manifest"] == whole
    print(f"{ROUNDS} times two pushes of one number at once, each time one was refused")


def test_versions_of_different_numbers_pushed_at_once_all_arrive(
    shared_store: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = shared_store
    projects = [make_project(tmp_path / f"machine-{number}") for number in range(4)]
    for number, project in enumerate(projects):
        for round_ in range(ROUNDS):
            record = project.highest_number(f"round-{round_}")
            record.parent.mkdir(parents=True)
            record.write_text(f"{number}\n")
            assert (
                add_version(project, f"run-{number}", adapter=f"round-{round_}").number
                == number + 1
            )
    said = push_together(url, projects, tmp_path / "meeting")
    assert not [line for lines in said for line in lines if not line.startswith("won ")]
    for round_ in range(ROUNDS):
        home = folder / "adapters" / f"round-{round_}"
        assert {path.name for path in (home / "versions").iterdir()} == {
            f"{number}.json" for number in (1, 2, 3, 4)
        }
        for tag in ("latest", "in-use"):
            moves = [
                json.loads(path.read_bytes()) for path in sorted((home / "tags" / tag).iterdir())
            ]
            assert moves[0]["before"] is None
            assert all(after["before"] == before["version"] for before, after in pairwise(moves))
            numbers = [move["version"] for move in moves]
            assert numbers[-1] == 4 if tag == "latest" else sorted(numbers) == [1, 2, 3, 4]
    print(f"{ROUNDS} times four pushes at once: every version there, the moves in one order")
