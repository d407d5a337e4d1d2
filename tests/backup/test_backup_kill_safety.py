"""Whenever a backup is killed, older snapshots restore, and the next run completes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backup_projects import EVERYTHING, back_up, make_project, repository_at, restored, tree_of
from modelyard.backup.repository import Repository
from modelyard.backup.verify import verify_repository
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

# `make soak` multiplies by ten: see docs/reliability.md.
SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
KILLS = 4 if SOAK == 1 else 10 * SOAK


def start(project: Project, repository: Repository) -> subprocess.Popen[bytes]:
    options = [f"--{name.replace('_', '-')}" for name in EVERYTHING.__slots__ if name != "models"]
    words = ["--project", str(project.root), "backup", "--repo", repository.store.url, *options]
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def change(project: Project, number: int) -> None:
    """Something for the next snapshot to store: 3 MB that do not compress, and a config."""
    chance = random.Random(number)
    (project.models / "large").write_bytes(chance.randbytes(3_000_000))
    (project.configs / "changing.yaml").write_text(f"name: number{number}\n")


def require_whole(repository: Repository) -> None:
    """Every byte of every object is what it was, and every snapshot has all that it needs."""
    verified = verify_repository(repository, share=1.0, progress=Silent())
    assert verified.damages == (), verified.damages


@pytest.mark.timeout(300 * SOAK)
def test_a_backup_may_be_killed_at_any_time(tmp_path: Path) -> None:
    project, repository = make_project(tmp_path / "project"), repository_at(tmp_path / "store")
    change(project, 0)
    began = time.monotonic()
    process = start(project, repository)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    takes_s = time.monotonic() - began
    first = tree_of(project)
    chance = random.Random(7)
    killed = 0
    for number in range(1, KILLS + 1):
        change(project, number)
        process = start(project, repository)
        time.sleep(chance.uniform(0.1, 0.9) * takes_s)
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode != 0
        require_whole(repository)
    assert killed > KILLS // 3
    print(f"killed {killed} of {KILLS} backups")
    assert tree_of(restored(repository, tmp_path / "old", repository.snapshots()[0])) == first
    back_up(project, repository)
    assert tree_of(restored(repository, tmp_path / "new")) == tree_of(project)
