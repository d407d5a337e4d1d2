"""Every place of the project's layout is in a snapshot, or left out for a reason that is named."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from backup_projects import EVERYTHING, back_up, repository_at
from modelyard.backup.inventory import inventory
from modelyard.backup.manifest import walk
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.selection import Selection
from modelyard.core.layout import Project

ALWAYS, NEVER = "in every snapshot", "in none, for a reason that is named"

# Each place, with the arguments of its method, and when a snapshot holds it. A new place belongs
# here. Without a rule of inventory.py it is in every snapshot.
PLACES: dict[str, tuple[tuple[Any, ...], str]] = {
    "configs": ((), ALWAYS),
    "datasets": ((), "include_datasets"),
    "dataset": (("x",), "include_datasets"),
    "experiments": ((), "include_experiments"),
    "experiment": (("x",), "include_experiments"),
    "models": ((), ALWAYS),
    "bases": ((), ALWAYS),
    "base_card": (("x",), ALWAYS),
    "versions": ((), ALWAYS),
    "adapter_versions": (("x",), ALWAYS),
    "adapter_version": (("x", 1), ALWAYS),
    "highest_number": (("x",), ALWAYS),
    "trained": ((), ALWAYS),
    "trained_link": (("x",), ALWAYS),
    "embeddings": ((), "include_embeddings"),
    "search_index": (("x", "y", "0123abcd"), "include_embeddings"),
    "former_search_index": (("x", "y"), "include_embeddings"),
    "search_indexes": ((), "include_embeddings"),
    "local_state": ((), ALWAYS),
    "project_file": ((), ALWAYS),
    "state_db": ((), ALWAYS),
    "traffic_db": ((), "include_telemetry"),
    "audit_log": ((), ALWAYS),
    "audit_log_aside": (("3-0123abcd",), ALWAYS),
    "audit_logs_aside": ((), ALWAYS),
    "answer_cache": ((), NEVER),
    "kept_verdicts": ((), NEVER),
    "recorded_prompts": ((), "include_telemetry"),
    "feedback_texts": (("x",), ALWAYS),
    "all_feedback_texts": ((), ALWAYS),
    "traffic_segment": (("x",), "include_telemetry"),
    "traffic_segments": ((), "include_telemetry"),
    "test_run": ((1,), ALWAYS),
    "incoming": (("x",), NEVER),
    "deployed": (("x",), ALWAYS),
    "deployed_revision": (("x", 1), ALWAYS),
    "embedding_cache": ((), NEVER),
    "backups": ((), NEVER),
    "restores": ((), NEVER),
    "restoring": ((), NEVER),
    "logs": ((), NEVER),
    "schedule_log": (("x",), NEVER),
    "service_socket": (("x",), NEVER),
    "versions_lock": ((), NEVER),
    "lock": (("x", "y"), NEVER),
}
NO_PLACES = {"root", "kept_in", "folders", "is_in_version", "is_confidential"}
NO_PLACES |= {"written_path", "show", "contain"}
OPTIONS = ("include_datasets", "include_experiments", "include_embeddings", "include_telemetry")


def places(project: Project, name: str) -> list[Path]:
    arguments, _ = PLACES[name]
    found = getattr(project, name)
    found = found(*arguments) if callable(found) else found
    return found if isinstance(found, list) else [found]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a file at each place, or in it where it is a folder."""
    project = Project(tmp_path / "project")
    everything = [place for name in PLACES for place in places(project, name)]
    for place in everything:
        is_folder = any(other != place and other.is_relative_to(place) for other in everything)
        file = place / "file" if is_folder or place.parent == project.root else place
        file.parent.mkdir(parents=True, exist_ok=True)
        if file != project.state_db:
            file.write_bytes(b"")
    return project


def test_every_place_of_the_layout_is_listed_here() -> None:
    members = {
        name
        for name, _ in inspect.getmembers(Project)
        if not name.startswith("_") and name not in NO_PLACES
    }
    assert members == set(PLACES)


@pytest.mark.parametrize("option", [None, *OPTIONS])
def test_every_place_is_in_the_snapshot_or_left_out_for_a_reason(
    project: Project, tmp_path: Path, option: str | None
) -> None:
    chosen = Selection(**({option: True} if option else {}))
    repository = repository_at(tmp_path / "repository")
    back_up(project, repository, chosen)
    snapshot = repository.load_snapshot("latest")
    reader = BlobReader(repository, repository.load_index())
    held = {item.path for item in walk(snapshot, reader.read)}
    left_out = {one.path: one.reason for one in snapshot.left_out}
    for name, (_, when) in PLACES.items():
        for place in places(project, name):
            path = place.relative_to(project.root).as_posix()
            if when in (ALWAYS, option):
                assert path in held or place == project.state_db, path
            else:
                assert path not in held, path
                above = [path, *(str(parent) for parent in Path(path).parents)]
                assert any(left_out.get(one) for one in above), path


def test_a_new_place_is_in_every_snapshot(project: Project, tmp_path: Path) -> None:
    for name in ("configs/new.yaml", "models/custom/a/learned.bin", ".models/keys/one"):
        place = project.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
        place.chmod(0o600)
    repository = repository_at(tmp_path / "repository")
    back_up(project, repository, Selection())
    reader = BlobReader(repository, repository.load_index())
    modes = {i.path: i.mode for i in walk(repository.load_snapshot("latest"), reader.read)}
    for name in ("configs/new.yaml", "models/custom/a/learned.bin", ".models/keys/one"):
        assert modes[name] == 0o600


def test_what_is_half_written_is_never_read(project: Project) -> None:
    found = inventory(project, EVERYTHING)
    assert found.holds("configs/a.yaml")
    assert not found.holds("configs/.staging-0123abcd-a.yaml")


def test_a_repository_inside_the_project_is_left_out(project: Project, tmp_path: Path) -> None:
    (tmp_path / "by-another-path").symlink_to(project.root)
    repository = repository_at(tmp_path / "by-another-path" / "models" / "snapshots")
    first = back_up(project, repository)
    again = back_up(project, repository)
    assert again.files == first.files
    assert "models/snapshots" in {one.path for one in first.left_out}
