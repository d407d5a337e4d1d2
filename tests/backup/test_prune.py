"""Pruning: in two phases, never anything that a snapshot or work under way needs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import upkeep_runs
from upkeep_samples import (
    SILENT,
    backdated,
    contents,
    repository_in,
    small_project,
    take,
    write_config,
)

from faulty_store import How, MakeFaulty, faults
from killed import SOAK
from modelyard.backup.leases import hold_lease
from modelyard.backup.pending import pending_packs, read_marks, write_mark
from modelyard.backup.prune import PruneResult, prune
from modelyard.backup.repository import Repository, pack_key
from modelyard.backup.retention import Keep
from modelyard.backup.verify import verify_repository
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project

DAY_S = 86400.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def repository(tmp_path: Path, project: Project) -> Repository:
    return repository_in(tmp_path / "repository", project)


def pass_time(repository: Repository, seconds: float) -> None:
    """Make every object older."""
    assert repository.store.folder is not None
    for path in repository.store.folder.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))


def prune_to(repository: Repository, last: int, *, dry_run: bool = False) -> PruneResult:
    return prune(repository, Keep(last=last), progress=SILENT, dry_run=dry_run)


def with_old_snapshots(project: Project, repository: Repository) -> list[str]:
    """Three snapshots, the oldest first; each changed three configs."""
    ids = []
    for step in range(3):
        for number in range(3):
            write_config(project, number, seed=100 * step + number)
        ids.append(
            backdated(repository, take(project, repository), f"2026-11-0{step + 1}T00:00:00Z")
        )
    pass_time(repository, 60)
    return ids


def test_what_is_unused_is_marked_first_and_deleted_after_a_day(
    project: Project, repository: Repository
) -> None:
    ids = with_old_snapshots(project, repository)
    kept = contents(repository, ids[2])
    before = len(repository.listing().packs)
    first = prune_to(repository, 1)
    assert first.removed == tuple(ids[:2]) and repository.snapshots() == (ids[2],)
    assert first.deleted_packs == 0 and first.marked_packs == 2 + first.repacked_packs - 1
    assert first.pending_packs == first.marked_packs and first.pending_until
    assert len(repository.listing().packs) >= before
    pass_time(repository, DAY_S - 600)
    assert prune_to(repository, 1).deleted_packs == 0
    pass_time(repository, 1200)
    second = prune_to(repository, 1)
    assert second.deleted_packs == first.marked_packs
    assert second.deleted_bytes == first.marked_bytes
    assert second.pending_packs == 0 and second.pending_until is None
    assert repository.load_index().packs() == repository.listing().packs
    assert contents(repository, ids[2]) == kept
    third = prune_to(repository, 1)
    assert not third.removed and not third.marked_packs and not third.merged_indexes


def test_a_dry_run_says_the_same_and_changes_nothing(
    project: Project, repository: Repository
) -> None:
    with_old_snapshots(project, repository)
    before = repository.store.listing()
    planned = prune_to(repository, 1, dry_run=True)
    assert repository.store.listing() == before
    done = prune_to(repository, 1)
    assert planned.dry_run and not done.dry_run
    assert (planned.removed, planned.kept) == (done.removed, done.kept)
    assert (planned.marked_packs, planned.marked_bytes) == (done.marked_packs, done.marked_bytes)


def test_a_backup_stores_again_what_only_pending_packs_hold(
    project: Project, repository: Repository
) -> None:
    with_old_snapshots(project, repository)
    prune_to(repository, 1)
    for number in range(3):
        write_config(project, number, seed=number)  # as they were in the first snapshot
    again = take(project, repository)
    expected = contents(repository, again)
    pass_time(repository, DAY_S + 60)
    assert prune_to(repository, 5).deleted_packs > 0
    assert contents(repository, again) == expected


def test_a_pending_pack_that_a_snapshot_needs_all_the_same_stays(
    project: Project, repository: Repository
) -> None:
    id = take(project, repository)
    expected = contents(repository, id)
    pass_time(repository, 60)
    write_mark(repository.store, repository.listing().packs)
    prune_to(repository, 1)  # completes the mark
    pass_time(repository, DAY_S + 60)
    done = prune_to(repository, 1)
    assert done.deleted_packs == 0 and read_marks(repository.store) == []
    assert contents(repository, id) == expected


def test_what_is_due_waits_for_work_that_began_before_it_was_marked(
    project: Project, repository: Repository
) -> None:
    with_old_snapshots(project, repository)
    with hold_lease(repository.store, "backup") as backup:
        first = prune_to(repository, 1)
        assert first.marked_packs and not first.repacked_packs
        pass_time(repository, DAY_S + 60)
        backup.now_s()  # its heartbeat
        waiting = prune_to(repository, 1)
        assert waiting.deleted_packs == 0
        assert len(waiting.waits_for) == 1 and waiting.waits_for[0].startswith("a backup on")
    with hold_lease(repository.store, "backup"):  # it began later, and has seen the marks
        assert prune_to(repository, 1).deleted_packs == first.marked_packs


def test_a_lease_of_a_dead_process_holds_nothing_up_for_long(
    project: Project, repository: Repository
) -> None:
    with_old_snapshots(project, repository)
    repository.store.create("leases/dead/lease.json", b"{}")
    marked = prune_to(repository, 1).marked_packs
    pass_time(repository, DAY_S + 60)
    assert prune_to(repository, 1).deleted_packs == marked
    assert repository.store.listing("leases/") == []


def test_new_packs_of_work_under_way_are_not_marked(
    project: Project, repository: Repository
) -> None:
    take(project, repository)
    pass_time(repository, 60)
    with hold_lease(repository.store, "backup"):
        name, _ = repository.put_pack(b"not indexed yet")
        assert prune_to(repository, 1).marked_packs == 0
    pass_time(repository, 60)
    assert prune_to(repository, 1).marked_packs == 1
    assert pending_packs(repository.store) == {name}


def test_many_small_packs_become_one(project: Project, repository: Repository) -> None:
    for step in range(21):
        write_config(project, step % 10, seed=1000 + step)
        (project.configs / f"{step}.yaml").write_text(f"step: {step}")
        id = backdated(repository, take(project, repository), f"2026-11-{step + 1:02}T00:00:00Z")
    expected = contents(repository, id)
    pass_time(repository, 60)
    done = prune_to(repository, 21)
    assert done.repacked_packs >= 20 and done.merged_indexes > 20
    pass_time(repository, DAY_S + 60)
    prune_to(repository, 21)
    assert len(repository.listing().packs) == 1
    assert len(repository.listing().indexes) == 1
    assert contents(repository, id) == expected


@pytest.mark.parametrize("what", ["pack", "index", "snapshot", "tree"])
def test_nothing_is_deleted_while_anything_is_damaged(
    project: Project, repository: Repository, what: str
) -> None:
    with_old_snapshots(project, repository)
    listing = repository.listing()
    folder = repository.store.folder
    assert folder is not None
    newest = repository.load_snapshot(listing.snapshots[-1])
    tree_pack = repository.load_index().find(newest.root.blobs[0])
    assert tree_pack is not None
    place = {
        "pack": f"packs/{tree_pack.pack[:2]}/{tree_pack.pack}",
        "tree": pack_key(tree_pack.pack),
        "index": f"indexes/{listing.indexes[0]}",
        "snapshot": f"snapshots/{newest.id}",
    }[what]
    damaged = (folder / place).read_bytes()
    (folder / place).write_bytes(damaged[:-40] if what == "pack" else damaged[::-1])
    before = {entry.key for entry in repository.store.listing()}
    with pytest.raises(ModelyardError):
        prune_to(repository, 1)
    assert {entry.key for entry in repository.store.listing()} == before


@pytest.mark.parametrize("how", ["error", "short", "lost"])
def test_a_fault_at_any_call_loses_nothing_and_the_next_run_completes(
    project: Project, repository: Repository, tmp_path: Path, how: How
) -> None:
    ids = with_old_snapshots(project, repository)
    prune_to(repository, 2)
    pass_time(repository, DAY_S + 60)
    expected = contents(repository, ids[2])
    folder = repository.store.folder
    assert folder is not None
    copytree(folder, tmp_path / "before")

    def work(make_faulty: MakeFaulty) -> None:
        prune_to(replace(repository, store=make_faulty(repository.store)), 1)

    for number in faults(work, how, each=10):
        assert contents(repository, ids[2]) == expected, number
        assert verify_repository(repository, SILENT, share=1.0).ok, number
        for _ in range(3):
            pass_time(repository, DAY_S + 60)
            prune_to(repository, 1)
        assert contents(repository, ids[2]) == expected, number
        assert repository.load_index().packs() == repository.listing().packs, number
        assert pending_packs(repository.store) == frozenset(), number
        rmtree(folder)
        copytree(tmp_path / "before", folder)


@pytest.mark.parametrize(
    ("action", "count"), [("overlap", 4 if SOAK == 1 else 200), ("kill", 3 if SOAK == 1 else 120)]
)
def test_overlapping_and_killed_prunes_lose_nothing(
    tmp_path: Path, action: str, count: int
) -> None:
    command = [sys.executable, upkeep_runs.__file__, action, str(count), str(tmp_path / "runs")]
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *sys.path])},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
