"""A fault at any call to the store: no snapshot loses anything, and the next one is whole."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from test_backup_kill_safety import require_whole

from backup_projects import EVERYTHING, back_up, make_project, repository_at, restored, tree_of
from faulty_store import How, MakeFaulty, faults
from modelyard.backup.snapshot import make_snapshot
from modelyard.core.progress import Silent


@pytest.mark.parametrize("how", ["error", "short", "lost"])
def test_a_fault_at_any_call_to_the_store(tmp_path: Path, how: How) -> None:
    project, repository = make_project(tmp_path / "project"), repository_at(tmp_path / "store")
    back_up(project, repository)
    first = tree_of(project)
    chance = random.Random(how)

    def work(make_faulty: MakeFaulty) -> None:
        (project.models / "large").write_bytes(chance.randbytes(300_000))
        (project.configs / "changing.yaml").write_text(f"name: {chance.random()}\n")
        faulty = replace(repository, store=make_faulty(repository.store))
        result = make_snapshot(project, faulty, EVERYTHING, progress=Silent())
        assert result.skipped == ()

    for _ in faults(work, how, each=3):
        require_whole(repository)
    oldest = repository.snapshots()[0]
    assert tree_of(restored(repository, tmp_path / "old", oldest)) == first
    back_up(project, repository)
    assert tree_of(restored(repository, tmp_path / "new")) == tree_of(project)
