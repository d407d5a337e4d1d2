"""Lists of snapshots, what is in one, and how two differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from upkeep_samples import SILENT, backdated, repository_in, small_project, take, write_config

from modelyard.backup.overview import diff_snapshots, list_snapshots, show_snapshot
from modelyard.backup.prune import prune
from modelyard.backup.repository import Repository
from modelyard.backup.retention import Keep
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def repository(tmp_path: Path, project: Project) -> Repository:
    return repository_in(tmp_path / "repository", project)


def test_snapshots_are_listed_from_the_oldest_to_the_newest(
    project: Project, repository: Repository
) -> None:
    first = backdated(repository, take(project, repository, "weekly"), "2026-11-01T00:00:00Z")
    second = take(project, repository)
    shown = list_snapshots(repository)
    assert [one.snapshot for one in shown.snapshots] == [first, second]
    assert [one.tag for one in shown.snapshots] == ["weekly", None]
    assert shown.snapshots[1].files == 10 and shown.snapshots[1].bytes == 200_000
    assert not shown.encrypted and shown.stored_bytes > 200_000


def test_a_damaged_or_vanished_snapshot_hides_no_other(
    project: Project, repository: Repository
) -> None:
    ids = [take(project, repository)]
    for _ in range(2):
        write_config(project, 0, seed=len(ids) + 50)
        ids.append(take(project, repository))
    folder = repository.store.folder
    assert folder is not None
    damaged, vanished, kept = ids
    (folder / "snapshots" / damaged).write_bytes(b"no snapshot")
    (folder / "snapshots" / vanished).unlink()
    shown = list_snapshots(repository)
    assert [one.snapshot for one in shown.snapshots] == [kept]
    assert {one.snapshot for one in shown.unreadable} == {damaged, vanished}
    assert any("no prune has removed it" in one.problem for one in shown.unreadable)


def test_a_snapshot_that_prune_removed_is_not_missed(
    project: Project, repository: Repository
) -> None:
    backdated(repository, take(project, repository), "2026-11-01T00:00:00Z")
    take(project, repository)
    removed = prune(repository, Keep(last=1), progress=SILENT).removed
    assert len(removed) == 1
    shown = list_snapshots(repository)
    assert len(shown.snapshots) == 1
    assert removed[0] not in {one.snapshot for one in shown.unreadable}


def test_a_snapshot_shows_its_places_and_on_request_every_item(
    project: Project, repository: Repository
) -> None:
    (project.configs / "integration.yaml").write_text("a: 1\n")
    (project.models / "trained").mkdir()
    (project.models / "trained" / "demo").symlink_to("../versions/demo/1")
    id = take(project, repository)
    shown = show_snapshot(repository, "latest")
    assert shown.snapshot.snapshot == id and shown.items == ()
    places = {place.path: (place.files, place.bytes) for place in shown.places}
    assert places == {
        "configs": (1, 5),
        "configs/embedding_models": (10, 200_000),
        "models/trained": (1, 0),
    }
    assert shown.left_out
    items = {item.path: item for item in show_snapshot(repository, id, with_items=True).items}
    assert items["models/trained/demo"].target == "../versions/demo/1"
    assert items["configs/integration.yaml"].bytes == 5
    assert items["configs"].kind == "folder" and items["configs"].bytes == 0


def test_two_snapshots_differ_in_what_was_changed(project: Project, repository: Repository) -> None:
    first = take(project, repository)
    folder = project.configs / "embedding_models"
    write_config(project, 3, seed=99)
    (folder / "4.yaml").unlink()
    (folder / "5.yaml").chmod(0o600)
    (folder / "6.yaml").touch()
    (project.configs / "extra").mkdir()
    (project.configs / "extra" / "new.yaml").write_text("x")
    second = take(project, repository)
    found = {
        one.path.removeprefix("configs/"): (one.change, one.bytes_before, one.bytes_after)
        for one in diff_snapshots(repository, first, second).differences
    }
    assert found == {
        "embedding_models/3.yaml": ("changed", 20_000, 20_000),
        "embedding_models/4.yaml": ("removed", 20_000, 0),
        "embedding_models/5.yaml": ("changed", 20_000, 20_000),
        "extra": ("added", 0, 0),
        "extra/new.yaml": ("added", 0, 1),
    }
    back = diff_snapshots(repository, second, first).differences
    assert {one.change for one in back if "extra" in one.path} == {"removed"}
    assert diff_snapshots(repository, first, first).differences == ()


def test_a_file_that_became_a_folder_is_told_as_such(
    project: Project, repository: Repository
) -> None:
    first = take(project, repository)
    place = project.configs / "embedding_models"
    shutil.rmtree(place)
    place.write_text("a file")
    second = take(project, repository)
    found = {one.path: one.change for one in diff_snapshots(repository, first, second).differences}
    assert found.pop("configs/embedding_models") == "changed"
    assert set(found.values()) == {"removed"} and len(found) == 10


def test_unknown_names_and_an_empty_repository_are_said(
    project: Project, repository: Repository
) -> None:
    assert list_snapshots(repository).snapshots == ()
    with pytest.raises(NoData, match="there is no snapshot"):
        show_snapshot(repository, "latest")
    take(project, repository)
    with pytest.raises(InvalidInput, match="there is no snapshot"):
        diff_snapshots(repository, "latest", "never")
