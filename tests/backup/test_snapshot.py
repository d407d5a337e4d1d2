"""A snapshot holds everything that was selected, once, and says what it does not hold."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from backup_projects import (
    EVERYTHING,
    back_up,
    make_project,
    repository_at,
    restored,
    rows_of,
    tree_of,
    write_index,
)
from modelyard.adapters.gc import collect_garbage
from modelyard.backup import snapshot, source
from modelyard.backup.repository import Repository
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import make_snapshot, plan_snapshot
from modelyard.backup.verify import verify_repository
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent
from modelyard.stores.store import StoreFailed
from small_disk import mounted_disk, remount


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return repository_at(tmp_path / "repository")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the times of files as final at once, and not two seconds after their last change."""
    monkeypatch.setattr(source, "_SETTLED_AFTER_NS", 0)


def objects(repository: Repository, kind: str) -> list[Path]:
    assert repository.store.folder is not None
    return sorted(place for place in (repository.store.folder / kind).rglob("*") if place.is_file())


def test_a_restored_snapshot_equals_the_project(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    before = tree_of(project)
    result = back_up(project, repository)
    assert tree_of(restored(repository, tmp_path / "back")) == before
    assert result.snapshot == repository.snapshots()[-1]
    assert result.files == len([one for one in before.values() if one[0] in ("file", "database")])
    assert repository.load_snapshot("latest").parent is None
    assert not objects(repository, "leases")


def test_what_is_not_chosen_is_left_out_and_named(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    result = back_up(project, repository, Selection(models=("demo",)))
    back = restored(repository, tmp_path / "back")
    found = {path for path in tree_of(back) if path.count("/") < 3}
    assert {"configs", "models/base", "models/versions/demo", ".models/state.db"} <= found
    left_out = {one.path: one.reason for one in result.left_out}
    for path, option in {
        "datasets": "--include-datasets",
        "experiments": "--include-experiments",
        "models/embeddings": "--include-embeddings",
        ".models/traffic.db": "--include-telemetry",
        "models/versions/other": "--models",
        "models/trained/other": "--models",
        ".models/embedding-cache.db": "cache",
    }.items():
        assert option in left_out[path]
        assert path not in found
    with pytest.raises(InvalidInput, match="no adapter 'dmo'"):
        make_snapshot(project, repository, Selection(models=("dmo",)), progress=Silent())


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_neither_read_nor_stored_again(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    first = back_up(project, repository)
    second = back_up(project, repository)
    # state.db is copied each time, and here its bytes are the same.
    assert (second.parent, second.read_files) == (first.snapshot, 1)
    assert second.stored_bytes < 1_000  # of folders, whose times change
    changed = project.configs / "language_models" / "model2.yaml"
    changed.write_text("name: model2\ntimeout: 9 seconds\n")
    third = back_up(project, repository)
    assert third.read_files == 2
    assert 0 < third.stored_bytes < 3_000
    assert tree_of(restored(repository, tmp_path / "back")) == tree_of(project)


def test_a_file_that_was_only_just_written_is_read_again(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    place = project.configs / "language_models" / "model0.yaml"
    place.write_text("one")
    times = (time.time_ns(), place.stat().st_mtime_ns)
    back_up(project, repository)
    place.write_text("two")  # the same size, and within the same tick of a coarse clock
    os.utime(place, ns=times)
    back_up(project, repository)
    back = restored(repository, tmp_path / "back")
    assert (back.configs / "language_models" / "model0.yaml").read_text() == "two"


def test_a_changed_page_of_an_index_costs_some_pages(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    index = project.search_index("docs", "large", "0123abcd")
    write_index(index, rows=6_000, row_bytes=3_000)  # more pages than one list holds
    back_up(project, repository)
    with closing(sqlite3.connect(index)) as writer, writer:
        writer.execute("UPDATE passages SET text = randomblob(3000) WHERE id IN (10, 5000)")
    again = back_up(project, repository)
    assert again.stored_bytes < 200_000 < index.stat().st_size / 50
    assert tree_of(restored(repository, tmp_path / "back")) == tree_of(project)


def test_equal_files_are_stored_once(project: Project, repository: Repository) -> None:
    data = os.urandom(500_000)
    for name in ("a", "b"):
        (project.models / name).write_bytes(data)
    assert back_up(project, repository).stored_bytes < 600_000


@pytest.mark.parametrize("damage", ["remove a pack", "cut a pack", "remove an index"])
@pytest.mark.usefixtures("settled")
def test_what_the_repository_lost_is_stored_again(
    project: Project, repository: Repository, tmp_path: Path, damage: str
) -> None:
    write_index(project.search_index("docs", "large", "0123abcd"), rows=6_000, row_bytes=3_000)
    back_up(project, repository)
    lost = objects(repository, "indexes" if "index" in damage else "packs")
    for place in lost[:1] if "pack" in damage else lost:
        if damage == "cut a pack":
            os.truncate(place, place.stat().st_size - 1)
        else:
            place.unlink()
    back_up(project, repository)
    assert tree_of(restored(repository, tmp_path / "back")) == tree_of(project)


def test_a_file_of_another_user_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        theirs = Project(Path(folder) / "project")
        shutil.copytree(project.root, theirs.root, symlinks=True)
        repository = repository_at(Path(folder) / "repository")
        (theirs.configs / "language_models" / "model3.yaml").chmod(0)
        closed = theirs.experiment("one")
        closed.chmod(0)
        if os.geteuid() == 0:
            for place in (Path(folder), *Path(folder).rglob("*")):
                os.chown(place, 65534, 65534, follow_symlinks=False)
            monkeypatch.setenv("TMPDIR", folder)
            monkeypatch.setattr(tempfile, "tempdir", folder)
            os.seteuid(65534)
        try:
            result = make_snapshot(theirs, repository, EVERYTHING, progress=Silent())
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            closed.chmod(0o755)
        assert {one.path: one.reason for one in result.skipped} == {
            "configs/language_models/model3.yaml": "cannot be read: Permission denied",
            "experiments/one": "cannot be listed: Permission denied",
        }
        assert repository.load_snapshot("latest").skipped == result.skipped


class Writing(Progress):
    """Appends to files whenever it is told of progress, as somebody who writes them would."""

    def __init__(self, *places: Path) -> None:
        self.places = places

    def advance(self, done: float, figures: str = "") -> None:
        for place in self.places:
            with place.open("a") as file:
                file.write("more\n")


def test_a_file_that_changes_whenever_it_is_read_is_named(
    project: Project, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_SHOWN_EVERY_S", -1.0)
    segment = project.traffic_segment("one")
    segment.parent.mkdir()
    segment.write_text("a line\n")
    busy = project.experiment("one") / "metrics.jsonl"
    result = make_snapshot(project, repository, EVERYTHING, progress=Writing(busy, segment))
    assert {one.path: one.reason for one in result.skipped} == {
        "experiments/one/metrics.jsonl": "changed each of the 3 times that it was read"
    }
    back = restored(repository, tmp_path / "back")
    found = (back.root / segment.relative_to(project.root)).read_text()
    assert segment.read_text().startswith(found) and found.startswith("a line\n")


def test_versions_that_are_not_as_their_manifest_says_are_stored_and_named(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    version = project.adapter_version("demo", 1)
    weights, config = version / "adapter_model.safetensors", version / "adapter_config.json"
    version.chmod(0o755)
    weights.chmod(0o644)
    weights.write_bytes(b"other")
    config.unlink()
    result = make_snapshot(project, repository, EVERYTHING, progress=Silent())
    assert {one.path.rpartition("/")[2]: one.reason for one in result.skipped} == {
        "adapter_model.safetensors": "is stored, but is not the file that MANIFEST.json names",
        "adapter_config.json": "is missing: MANIFEST.json names it",
    }
    assert tree_of(restored(repository, tmp_path / "back")) == tree_of(project)


def test_links_out_of_the_project_and_what_has_no_content_are_named(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    (project.configs / "outside.yaml").symlink_to("/etc/hostname")
    os.mkfifo(project.local_state / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(project.local_state / "socket"))
    listener.close()
    result = make_snapshot(project, repository, EVERYTHING, progress=Silent())
    assert [one.path for one in result.skipped] == ["configs/outside.yaml"]
    left_out = {one.path: one.reason for one in result.left_out}
    assert left_out[".models/pipe"] == "a pipe, which has no content"
    assert left_out[".models/socket"] == "a socket, which has no content"


def test_what_no_snapshot_can_hold_is_named(
    project: Project, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = project.configs / "/".join("d" * 120)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    many = project.configs / "many"
    many.mkdir()
    for number in range(40):
        (many / str(number)).touch()
    monkeypatch.setattr(source, "MOST_IN_A_FOLDER", 30)
    result = make_snapshot(project, repository, EVERYTHING, progress=Silent())
    reasons = {one.path.rpartition("/")[2]: one.reason for one in result.skipped}
    assert reasons == {
        "d": "is below 100 others, deeper than a snapshot goes",
        "many": "holds 40 things, and at most 30 fit",
    }
    restored(repository, tmp_path / "back")
    monkeypatch.setattr(snapshot, "MOST_ITEMS", 100)
    with pytest.raises(ModelyardError, match="and a snapshot 100"):
        make_snapshot(project, repository, EVERYTHING, progress=Silent())


def test_a_folder_of_the_project_may_lie_on_another_disk(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    project.experiments.rename(tmp_path / "elsewhere")
    project.experiments.symlink_to(tmp_path / "elsewhere")
    back_up(project, repository)
    back = restored(repository, tmp_path / "back")
    assert (back.experiments / "one" / "metrics.jsonl").read_text() == '{"loss": 1.5}\n'
    assert not back.experiments.is_symlink()


@pytest.mark.usefixtures("settled")
def test_a_dry_run_says_what_would_be_read_and_writes_nothing(
    project: Project, repository: Repository
) -> None:
    before = tree_of(project)
    plan = plan_snapshot(project, None, EVERYTHING, url="file:///none", progress=Silent())
    assert (plan.snapshot, plan.read_files, plan.stored_bytes) == (None, plan.files, 0)
    back_up(project, repository)
    stored = objects(repository, ".")
    again = plan_snapshot(project, repository, EVERYTHING, url="", progress=Silent())
    assert (again.files, again.read_files) == (plan.files, 1)
    assert (objects(repository, "."), tree_of(project)) == (stored, before)


def test_a_project_on_a_read_only_disk_is_backed_up(repository: Repository, tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "4m") as disk:
        project = make_project(disk / "project")
        # A killed process leaves the last changes in the log.
        add_row = "import sqlite3, os; c = sqlite3.connect({!r}); c.execute({!r}); c.commit(); {}"
        for place, query in (
            (project.state_db, "DELETE FROM pins"),
            (project.traffic_db, "INSERT INTO figures VALUES (7)"),
        ):
            line = add_row.format(str(place), query, "os._exit(0)")
            subprocess.run([sys.executable, "-c", line], check=True)
            assert place.with_name(f"{place.name}-wal").stat().st_size > 0
        remount(disk, "ro")
        back_up(project, repository)
        back = restored(repository, tmp_path / "back")
        with closing(sqlite3.connect(back.state_db)) as state:
            assert state.execute("SELECT count(*) FROM pins").fetchone() == (0,)
        with closing(sqlite3.connect(back.traffic_db)) as traffic:
            assert traffic.execute("SELECT n FROM figures").fetchall() == [(7,)]
        remount(disk, "rw")


def test_a_full_disk_is_said_plainly_and_harms_nothing(project: Project, tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "6m") as disk:
        repository = repository_at(disk / "repository")
        back_up(project, repository)
        before = tree_of(project)
        (project.models / "large").write_bytes(os.urandom(20_000_000))
        with pytest.raises(StoreFailed, match="No space left") as refused:
            back_up(project, repository)
        assert refused.value.hint and "free some space" in refused.value.hint
        (project.models / "large").unlink()
        assert verify_repository(repository, Silent(), share=1.0).ok
        assert tree_of(restored(repository, tmp_path / "back")) == before


KILLED_WRITER = """
import os, sqlite3, sys
index = sqlite3.connect(sys.argv[1], isolation_level=None)
index.execute("PRAGMA cache_size = 1")
index.execute("BEGIN")
index.execute("UPDATE passages SET text = randomblob(400)")
os._exit(0)
"""


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_what_a_killed_update_began_is_not_in_the_index(
    repository: Repository, tmp_path: Path, mode: Literal["rw", "ro"]
) -> None:
    with mounted_disk(tmp_path / "disk", "4m") as disk:
        project = make_project(disk / "project")
        (index,) = project.search_indexes
        before = rows_of(index)
        subprocess.run([sys.executable, "-c", KILLED_WRITER, str(index)], check=True)
        assert index.with_name(f"{index.name}-journal").stat().st_size > 0
        remount(disk, mode)
        back_up(project, repository)
        back = restored(repository, tmp_path / "back")
        assert rows_of(back.search_indexes[0]) == before
        remount(disk, "rw")


def test_a_damaged_database_is_stored_as_it_lies_there_and_named(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    (index,) = project.search_indexes
    data = bytearray(index.read_bytes())
    data[100:4096] = os.urandom(3996)
    index.write_bytes(data)
    result = make_snapshot(project, repository, EVERYTHING, progress=Silent())
    (skipped,) = result.skipped
    assert skipped.path == index.relative_to(project.root).as_posix()
    assert "is stored as it lies there: SQLite says" in skipped.reason
    assert restored(repository, tmp_path / "back").search_indexes[0].read_bytes() == data


def test_versions_stay_while_a_backup_runs_and_two_do_not_run_at_once(
    project: Project, repository: Repository
) -> None:
    class During(Progress):
        def begin(self, label: str, total: float, unit: str) -> None:
            with pytest.raises(LockHeld, match="backup of the project"):
                collect_garbage(project, "demo", keep=1)
            with pytest.raises(LockHeld, match=f"process {os.getpid()}"):
                make_snapshot(project, repository, EVERYTHING, progress=Silent())
            self.begun = True

    during = During()
    back_up(project, repository, progress=during)
    assert during.begun
    collect_garbage(project, "demo", keep=1)
    with exclusive_lock(project.versions_lock, what="x"):
        pass


def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.configs.mkdir(parents=True)
    with (project.configs / "large").open("wb") as large:
        for _ in range(20):
            large.write(os.urandom(10_000_000))
    write_index(project.search_index("docs", "large", "0123abcd"), rows=20_000, row_bytes=3_000)
    program = f"""
from pathlib import Path
from backup_projects import EVERYTHING, back_up, repository_at
from modelyard.core.layout import Project
from modelyard.core.peak_memory import peak_memory_bytes
before = peak_memory_bytes()
back_up(Project(Path({str(project.root)!r})), repository_at(Path({str(tmp_path / "r")!r})))
print(before, peak_memory_bytes())
"""
    path = os.pathsep.join((str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    _, peak = map(int, done.stdout.split())
    assert peak < 300e6
