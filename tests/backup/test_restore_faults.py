"""A store that fails while a snapshot is read: nothing is restored by half, and none is called bad
that is not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from backup_projects import EVERYTHING, back_up, make_project, repository_at, tree_of
from faulty_store import How, MakeFaulty, faults
from modelyard.backup.in_place import restore_in_place
from modelyard.backup.repository import Repository
from modelyard.backup.restore import restore_to
from modelyard.backup.verify import verify_repository
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def repository(tmp_path: Path, project: Project) -> Repository:
    repository = repository_at(tmp_path / "repository")
    back_up(project, repository, EVERYTHING)
    return repository


def faulty(repository: Repository, make_faulty: MakeFaulty) -> Repository:
    """The repository in a store with a fault; as of a store that is no folder, all is requested."""
    return replace(repository, store=make_faulty(replace(repository.store, folder=None)))


@pytest.mark.parametrize("how", get_args(How))
def test_a_new_folder_is_whole_or_not_there(
    project: Project, repository: Repository, tmp_path: Path, how: How
) -> None:
    whole = tree_of(project)
    (tmp_path / "work").mkdir()
    new = tmp_path / "work" / "new"
    done = []

    def work(make_faulty: MakeFaulty) -> None:
        restore_to(faulty(repository, make_faulty), "latest", new, Silent())

    for number in faults(work, how):
        done.append(new.exists())
        assert [place.name for place in new.parent.iterdir()] == (["new"] if done[-1] else [])
        if new.exists():
            assert tree_of(Project(new)) == whole, number
            shutil.rmtree(new)
    assert done[0]
    assert not all(done)


@pytest.mark.parametrize("how", get_args(How))
def test_a_project_is_restored_over_whole_or_not_at_all(
    project: Project, repository: Repository, tmp_path: Path, how: How
) -> None:
    (project.configs / "language_models" / "model0.yaml").write_text("name: later\n")
    shutil.rmtree(project.adapter_version("demo", 1))
    before = tmp_path / "before"
    shutil.copytree(project.root, before, symlinks=True)
    paths = {"configs/language_models/model0.yaml", "models/versions/demo/1"}
    restored = []

    def work(make_faulty: MakeFaulty) -> None:
        shutil.rmtree(project.root)
        shutil.copytree(before, project.root, symlinks=True)
        reading = faulty(repository, make_faulty)
        restored.append(restore_in_place(project, reading, "latest", Silent()))

    whole = None
    for number in faults(work, how, each=2):
        found = {
            path: content
            for path, content in tree_of(project).items()
            if not path.startswith((".models/restores", ".models/locks", ".models/state.db"))
        }
        whole = whole or found
        if found != whole:
            assert found == _without(tree_of(Project(before))), number
            assert not project.restoring.is_symlink()
            assert not list(project.restores.glob("*")), number
    assert restored and paths <= set(restored[0].put_back)


@pytest.mark.parametrize("how", ["error", "lost"])
def test_what_could_not_be_read_is_not_called_damaged(repository: Repository, how: How) -> None:
    verdicts: list[bool] = []

    def work(make_faulty: MakeFaulty) -> None:
        found = verify_repository(faulty(repository, make_faulty), Silent(), share=1.0)
        verdicts.append(found.ok)

    for _ in faults(work, how):
        pass
    assert verdicts[0]
    assert all(verdicts)


def test_an_object_that_comes_short_is_damage_or_an_error(repository: Repository) -> None:
    outcomes: list[str] = []

    def work(make_faulty: MakeFaulty) -> None:
        try:
            found = verify_repository(faulty(repository, make_faulty), Silent(), share=1.0)
            outcomes.append("ok" if found.ok else "damage")
        except ModelyardError:
            outcomes.append("error")

    for _ in faults(work, "short"):
        pass
    assert outcomes[0] == "ok"
    assert {"damage", "error"} & set(outcomes)


def _without(tree: dict[str, object]) -> dict[str, object]:
    skipped = (".models/restores", ".models/locks", ".models/state.db")
    return {path: content for path, content in tree.items() if not path.startswith(skipped)}
