"""A drill: everything in a snapshot is used, nothing but the scratch folder is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_projects import EVERYTHING, back_up, make_project, repository_at, tree_of
from hand_made_snapshots import store
from modelyard.backup.drill import DrillResult, run_drill
from modelyard.backup.repository import Repository
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.core.progress import Silent


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return repository_at(tmp_path / "repository")


def drill(repository: Repository, scratch: Path) -> DrillResult:
    return run_drill(repository, "latest", Silent(), scratch=scratch)


def verdicts(result: DrillResult) -> dict[str, str]:
    return {step.step: step.verdict for step in result.steps}


def test_a_project_is_restored_and_used_and_nothing_is_left(
    tmp_path: Path, repository: Repository, scratch: Path
) -> None:
    project = make_project(tmp_path / "project")
    back_up(project, repository, EVERYTHING)
    before = tree_of(project)
    result = drill(repository, scratch)
    found = verdicts(result)
    assert found["files"] == "passed"
    assert list(found) == ["files", "adapters", "configs", "indexes", "audit", "answer"]
    assert not list(scratch.iterdir())
    assert tree_of(project) == before


def test_what_is_not_in_the_snapshot_is_not_tried(repository: Repository, scratch: Path) -> None:
    store(repository, {"configs/README.md": b"# Configs\n", "models/base": None})
    result = drill(repository, scratch)
    assert result.ok
    assert verdicts(result) == {
        "files": "passed",
        "adapters": "not_tried",
        "configs": "passed",
        "indexes": "not_tried",
        "audit": "not_tried",
        "answer": "not_tried",
    }


def test_a_config_that_cannot_be_loaded_fails(repository: Repository, scratch: Path) -> None:
    store(repository, {"configs/language_models/gpt4.yaml": b"provider: nobody\n", "models": None})
    result = drill(repository, scratch)
    assert not result.ok
    [configs] = [step for step in result.steps if step.step == "configs"]
    assert configs.verdict == "failed"
    assert "language_models/gpt4.yaml" in configs.problems[0]


def test_an_index_that_is_damaged_fails(repository: Repository, scratch: Path) -> None:
    path = "models/embeddings/docs/docs@12345678.index"
    store(repository, {"configs/README.md": b"x", path: b"no index"})
    [indexes] = [step for step in drill(repository, scratch).steps if step.step == "indexes"]
    assert indexes.verdict == "failed"
    assert indexes.problems[0].startswith(path)
    assert str(scratch) not in indexes.problems[0]


def test_a_repository_that_is_damaged_leaves_nothing(repository: Repository, scratch: Path) -> None:
    store(repository, {"configs/README.md": b"# Configs\n" * 100})
    assert repository.store.folder is not None
    for pack in (repository.store.folder / "packs").glob("*/*"):
        pack.write_bytes(pack.read_bytes()[:40])
    with pytest.raises(ModelyardError):
        drill(repository, scratch)
    assert not list(scratch.iterdir())


def test_a_disk_without_room_is_said_before(
    repository: Repository, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(repository, {"configs/README.md": b"# Configs\n"})

    def refuse(*given: object, hint: str) -> None:
        raise NoSpace("restoring it needs 9 MB", hint=hint)

    monkeypatch.setattr("modelyard.backup.restore.require_free_space", refuse)
    with pytest.raises(NoSpace):
        drill(repository, scratch)
    assert not list(scratch.iterdir())


def test_the_project_of_the_drill_is_its_own(repository: Repository, scratch: Path) -> None:
    store(repository, {"configs/README.md": b"x", "models": None})
    here = Project(scratch.parent)
    drill(repository, scratch)
    assert not here.local_state.exists()
