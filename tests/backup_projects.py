"""A project with something of everything that a backup holds, and what is in a folder."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from adapter_samples import facts, fill_with
from modelyard.adapters.gc import pin_version
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import register_version
from modelyard.backup.repository import Repository, open_repository
from modelyard.backup.restore import restore_to
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import SnapshotResult, make_snapshot
from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.core.files import replace_link
from modelyard.core.layout import Project
from modelyard.core.progress import Progress, Silent

EVERYTHING = Selection(
    include_embeddings=True, include_datasets=True, include_experiments=True, include_telemetry=True
)


def make_project(root: Path) -> Project:
    """demo@1, demo@2 and other@1, configs, a deployment, feedback, an index, figures, data."""
    project = Project(root)
    (project.configs / "language_models").mkdir(parents=True)
    for number in range(5):
        text = f"name: model{number}\ntimeout: {number + 1} seconds\n"
        (project.configs / "language_models" / f"model{number}.yaml").write_text(text)
    (project.configs / "language_models" / "model1.yaml").chmod(0o600)
    project.base_card("tiny").parent.mkdir(parents=True)
    project.base_card("tiny").write_text("# tiny\n")
    for adapter, run in (("demo", "run-1"), ("demo", "run-2"), ("other", "run-3")):
        version = register_version(project, adapter, fill=fill_with(), provenance=facts(run))
        promote_version(project, version)
    pin_version(project, "demo", 1, reason="the first")
    record_feedback(project, [Feedback(prompt="Who?", answer="Ann", rating="good")])
    revision = project.deployed_revision("test", 1)
    revision.mkdir(parents=True)
    (revision / "model0.yaml").write_text("name: model0\n")
    replace_link(project.deployed("test"), revision)
    write_index(project.search_index("docs", "handbook", "0123abcd"), rows=50)
    for folder, name in (("datasets", "train.jsonl"), ("experiments", "metrics.jsonl")):
        place = project.root / folder / "one" / name
        place.parent.mkdir(parents=True)
        place.write_text('{"loss": 1.5}\n')
    with closing(sqlite3.connect(project.traffic_db)) as traffic:
        traffic.execute("PRAGMA journal_mode=WAL")
        traffic.execute("CREATE TABLE figures (n INTEGER)")
    project.embedding_cache.write_bytes(b"a cache")
    return project


def write_index(path: Path, *, rows: int, row_bytes: int = 400) -> None:
    """A SQLite file with a rollback journal, as search indexes are, with random rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as index, index:
        index.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, text BLOB)")
        index.executemany(
            "INSERT INTO passages (text) VALUES (randomblob(?))", [(row_bytes,)] * rows
        )


def repository_at(folder: Path) -> Repository:
    """The repository in a folder, made if need be."""
    return open_repository(folder.as_uri(), Project(folder), make=True)


def back_up(
    project: Project,
    repository: Repository,
    selection: Selection = EVERYTHING,
    progress: Progress | None = None,
) -> SnapshotResult:
    """A snapshot with nothing skipped."""
    result = make_snapshot(project, repository, selection, progress=progress or Silent())
    assert result.skipped == ()
    return result


def restored(repository: Repository, folder: Path, name: str = "latest") -> Project:
    """A snapshot, restored into a folder."""
    restore_to(repository, name, folder, Silent())
    return Project(folder)


def tree_of(project: Project) -> dict[str, tuple[str, int, object]]:
    """What a backup should bring back, by path: kind, mode, and content or target.

    A database in WAL mode is told by its rows, since its bytes are another form of the same.
    """
    never = (".models/locks", ".models/embedding-cache.db", ".models/backups")
    found: dict[str, tuple[str, int, object]] = {}
    for place in sorted(project.root.rglob("*")):
        path = place.relative_to(project.root).as_posix()
        if path.startswith(never) or path.endswith(("-wal", "-shm")):
            continue
        mode = stat.S_IMODE(place.lstat().st_mode)
        if place.is_symlink():
            found[path] = "link", 0, str(place.readlink())
        elif place.is_dir():
            found[path] = "folder", mode, None
        elif place in (project.state_db, project.traffic_db):
            found[path] = "database", mode, rows_of(place)
        else:
            found[path] = "file", mode, place.read_bytes()
    return found


def rows_of(path: Path) -> list[str]:
    """All rows of a database, but that backups were made: that is recorded after each."""
    with closing(sqlite3.connect(path)) as database:
        lines = database.iterdump()
        return [line for line in lines if not line.startswith('INSERT INTO "backup_runs"')]
