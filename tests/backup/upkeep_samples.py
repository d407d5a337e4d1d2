"""A small project, and snapshots of it, with small things to change in between."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from modelyard.backup.blob_index import IndexPart
from modelyard.backup.manifest import content_blobs, walk
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository, open_repository
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import make_snapshot
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

SILENT = Silent()


def small_project(folder: Path) -> Project:
    """A project of ten configs, 20 kB each, that cannot be compressed."""
    for name in ("configs/embedding_models", "models", ".models"):
        (folder / name).mkdir(parents=True)
    project = Project(folder)
    for number in range(10):
        write_config(project, number, seed=number)
    return project


def write_config(project: Project, number: int, *, seed: int) -> None:
    """Write one of the configs; equal seeds are equal contents."""
    place = project.configs / "embedding_models" / f"{number}.yaml"
    place.write_bytes(random.Random(seed).randbytes(20_000))


def repository_in(folder: Path, project: Project) -> Repository:
    return open_repository(folder.as_uri(), project, make=True)


def take(project: Project, repository: Repository, tag: str | None = None) -> str:
    """A snapshot of the project; its id."""
    made = make_snapshot(project, repository, Selection(), progress=SILENT, tag=tag)
    assert made.snapshot is not None
    return made.snapshot


def backdated(repository: Repository, id: str, created_at: str) -> str:
    """The same snapshot as if it had been made then; its new id."""
    snapshot = repository.load_snapshot(id)
    repository.store.delete([f"snapshots/{id}"])
    changed = repository.put_snapshot(replace(snapshot, created_at=created_at)).id
    repository.put_index(IndexPart(snapshots=(changed,), removed=(id,)))
    return changed


def contents(repository: Repository, id: str) -> dict[str, bytes]:
    """Every file of a snapshot, each blob checked."""
    reader = BlobReader(repository, repository.load_index())
    return {
        item.path: b"".join(map(reader.read, content_blobs(item, reader.read)))
        for item in walk(repository.load_snapshot(id), reader.read)
        if item.kind in ("file", "sqlite")
    }
