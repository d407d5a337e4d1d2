"""Prunes and backups that overlap or are killed, in forked processes: obstore survives no fork.

    python upkeep_runs.py overlap|kill COUNT FOLDER

What fails is written to FOLDER/failures, with the round, and the repository stays as it is then.
This process itself never opens a store. Of a few contents each backup takes some, so what one prune
finds unused is wanted again by the next backup. Dead leases are made old by the times of their
files, which are the clock of such a store.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from killed import fork, kill_after
from modelyard.backup.manifest import content_blobs, walk
from modelyard.backup.pending import pending_packs
from modelyard.backup.prune import prune
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository, open_repository
from modelyard.backup.retention import Keep
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import make_snapshot
from modelyard.backup.verify import verify_repository
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

FILES, CONTENTS = 8, 12
KEPT = 3


def make_project(folder: Path) -> Project:
    for name in ("configs", "models", ".models"):
        (folder / "project" / name).mkdir(parents=True)
    return Project(folder / "project")


def content(number: int) -> bytes:
    """One of the contents, 60 kB that cannot be compressed."""
    return random.Random(number).randbytes(60_000)


def change_project(project: Project, chance: random.Random) -> None:
    for number in range(FILES):
        if chance.random() < 0.5:
            data = content(chance.randrange(CONTENTS))
            (project.configs / f"{number}.yaml").write_bytes(data)


def opened(folder: Path) -> Repository:
    address = (folder / "repository").as_uri()
    return open_repository(address, Project(folder / "project"), make=True)


def back_up(folder: Path, delay_s: float = 0.0) -> None:
    """One backup, and beside the repository what the snapshot must give back."""
    time.sleep(delay_s)
    project = Project(folder / "project")
    made = make_snapshot(project, opened(folder), Selection(), progress=Silent())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} configs/{path.name}"
        for path in sorted(project.configs.iterdir())
    ]
    (folder / "expected" / str(made.snapshot)).write_text("\n".join(lines))


def prune_once(folder: Path, delay_s: float = 0.0) -> None:
    time.sleep(delay_s)
    result = prune(opened(folder), Keep(last=KEPT), progress=Silent(), grace_s=0)
    with (folder / "deleted").open("a") as stream:
        stream.write(f"{result.deleted_packs} {result.repacked_packs} {result.marked_packs}\n")


def check(folder: Path) -> None:
    """Every snapshot gives back what it must, byte for byte."""
    repository = opened(folder)
    reader = BlobReader(repository, repository.load_index())
    for id in repository.snapshots():
        found = []
        for item in walk(repository.load_snapshot(id), reader.read):
            if item.kind == "file":
                data = b"".join(map(reader.read, content_blobs(item, reader.read)))
                found.append(f"{hashlib.sha256(data).hexdigest()} {item.path}")
        expected = (folder / "expected" / id).read_text().split("\n")
        assert [line for line in found if " configs/" in line] == expected, id
    assert len(repository.snapshots()) >= KEPT
    verified = verify_repository(repository, Silent(), share=1.0)
    assert verified.ok, verified.damages


def check_clean(folder: Path) -> None:
    """Nothing is left that nobody needs."""
    check(folder)
    repository = opened(folder)
    listing = repository.listing()
    assert pending_packs(repository.store) == frozenset()
    assert len(repository.snapshots()) == KEPT
    assert repository.load_index().packs() == listing.packs
    assert repository.store.listing("leases/") == []


def run(folder: Path, *work: Callable[[], None], during: str = "") -> None:
    """Run each in a process of its own, at once; all must end well. `during` says when it was."""
    failures = folder / "failures"

    def attempt(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException:
            with failures.open("a") as stream:
                stream.write(traceback.format_exc())
            raise

    children = [fork(partial(attempt, one)) for one in work]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        with failures.open("a") as stream:
            stream.write(f"{during}: the processes ended with {codes}\n")
        raise AssertionError(failures.read_text())


def make_old(folder: Path, seconds: float) -> None:
    """Make everything in the repository older, as if nothing had happened for that long."""
    for path in (folder / "repository").rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))


def overlap(folder: Path, count: int) -> None:
    project, chance = make_project(folder), random.Random(1)
    for _ in range(KEPT):
        change_project(project, chance)
        run(folder, lambda: back_up(folder))
    for number in range(count):
        change_project(project, chance)
        delays = [chance.random() * 0.1 for _ in range(3)]
        run(
            folder,
            partial(prune_once, folder, delays[0]),
            partial(prune_once, folder, delays[1]),
            partial(back_up, folder, delays[2]),
            during=f"round {number}, two prunes and a backup",
        )
        run(folder, lambda: check(folder), during=f"round {number}, the check")
        make_old(folder, 100)
    for _ in range(3):
        run(folder, lambda: prune_once(folder))
        make_old(folder, 100)
    run(folder, lambda: check_clean(folder))


def kill(folder: Path, count: int) -> None:
    project, chance = make_project(folder), random.Random(2)
    for step in range(KEPT + 5):
        change_project(project, chance)
        run(folder, lambda: back_up(folder))
        make_old(folder, 100)
        if step == KEPT + 2:
            run(folder, lambda: prune_once(folder))  # leaves packs that are due
            make_old(folder, 100)
    before = folder / "before"
    shutil.copytree(folder / "repository", before)
    began = time.monotonic()
    run(folder, lambda: prune_once(folder))
    whole_s = time.monotonic() - began
    killed = 0
    for number in range(count):
        shutil.rmtree(folder / "repository")
        shutil.copytree(before, folder / "repository")
        killed += kill_after(lambda: prune_once(folder), chance.random() * whole_s)
        run(folder, lambda: check(folder), during=f"kill {number}, the check")
        make_old(folder, 7200)
        for _ in range(4):
            run(folder, lambda: prune_once(folder))
            make_old(folder, 100)
        run(folder, lambda: check_clean(folder))
    print(f"{killed} of {count} prunes were killed at work")


if __name__ == "__main__":
    action, number, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    (place / "expected").mkdir(parents=True)
    {"overlap": overlap, "kill": kill}[action](place, number)
    lines = (place / "deleted").read_text().split("\n")[:-1]
    sums = [sum(column) for column in zip(*(map(int, line.split()) for line in lines), strict=True)]
    print(f"{len(lines)} prunes: deleted, repacked, marked {sums} packs")
