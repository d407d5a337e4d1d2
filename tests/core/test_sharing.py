"""With whom a project is shared, and the mode of every file that is made in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.answering.answer_cache import _CACHE
from modelyard.answering.recorded_prompts import _PROMPTS
from modelyard.core.errors import InvalidInput
from modelyard.core.files import (
    append_line,
    exclusive_lock,
    make_file,
    make_folder,
    staged_folder,
    write_atomic,
)
from modelyard.core.layout import Project
from modelyard.core.sharing import (
    Sharing,
    load_sharing,
    mode_of,
    project_file_text,
    shared_at,
)
from modelyard.core.state import open_state
from modelyard.serving.process import listen_locally

MODES = {
    Sharing.PRIVATE: (0o700, 0o600, 0o400, 0o700, 0o600),
    Sharing.GROUP: (0o2770, 0o660, 0o440, 0o2750, 0o660),
    Sharing.ALL: (0o2775, 0o664, 0o444, 0o2755, 0o660),
}
"""Of a folder, a file, a version's file and folder, and a confidential file."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    place = Project(tmp_path / "project")
    place.configs.mkdir(parents=True)
    place.models.mkdir()
    return place


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def say(project: Project, text: str) -> None:
    project.local_state.mkdir(exist_ok=True)
    project.project_file.write_text(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("sharing", Sharing)
def test_one_function_says_every_mode(project: Project, sharing: Sharing) -> None:
    version = project.adapter_version("demo", 3)
    cases = (
        (project.lock("adapter", "demo").parent, 0o700, True),
        (project.state_db, 0o600, False),
        (version / "MANIFEST.json", 0o400, False),
        (version, 0o700, True),
        (project.local_state / "answer-cache.db-wal", 0o600, False),
    )
    found = tuple(
        mode_of(project, place, sharing, owner | 0o055, is_folder=is_folder)
        for place, owner, is_folder in cases
    )
    assert found == MODES[sharing]


def test_a_database_of_what_people_wrote_lies_where_others_may_not_read(project: Project) -> None:
    for database in (_CACHE, _PROMPTS):
        assert database.private and project.is_confidential(database.place(project))


@pytest.mark.parametrize("sharing", Sharing)
@pytest.mark.usefixtures("umask")
def test_what_is_made_has_its_mode_whatever_the_umask(project: Project, sharing: Sharing) -> None:
    say(project, project_file_text(sharing))
    folder, file, read_only, version_folder, confidential = MODES[sharing]
    write_atomic(project.configs / "new" / "a.yaml", "a: 1\n")
    make_folder(project.experiments)
    append_line(project.experiments / "x.jsonl", "{}")
    with exclusive_lock(project.lock("adapter", "demo"), what="adapter demo"):
        pass
    make_file(project.answer_cache)
    with staged_folder(project.adapter_version("demo", 1)) as staged:
        (staged / "inner").mkdir()
        (staged / "inner" / "file").write_text("x")
        (staged / "inner" / "file").chmod(0o400)
    with open_state(project) as state:
        state.execute("INSERT INTO forgotten VALUES ('x', 'y')")
        beside = [project.local_state / f"state.db{end}" for end in ("", "-wal", "-shm")]
        assert {mode(path) for path in beside} == {file}
    version = project.adapter_version("demo", 1)
    assert {mode(version), mode(version / "inner")} == {version_folder}
    assert mode(version / "inner" / "file") == read_only
    assert mode(project.answer_cache) == confidential
    assert mode(project.configs / "new" / "a.yaml") == file
    assert mode(project.lock("adapter", "demo")) == mode(project.experiments / "x.jsonl") == file
    made = (project.configs / "new", project.lock("x", "x").parent, version.parent)
    assert {mode(path) for path in made} == {folder}
    assert not list(project.root.rglob(".staging-*"))


@pytest.mark.usefixtures("umask")
def test_outside_of_projects_the_umask_decides(tmp_path: Path) -> None:
    write_atomic(tmp_path / "folder" / "file", "x")
    make_file(tmp_path / "lock")
    current = os.umask(0)
    os.umask(current)
    assert mode(tmp_path / "folder" / "file") == mode(tmp_path / "lock") == 0o644 & ~current
    assert mode(tmp_path / "folder") == 0o777 & ~current


@pytest.mark.parametrize(
    "text", ["sharing: group\n", "# x\n---\nsharing:  'group'  # us\n", "\ufeffsharing: group\r\n"]
)
def test_the_file_is_read_as_people_write_it(project: Project, text: str) -> None:
    say(project, text)
    assert load_sharing(project) is Sharing.GROUP


@pytest.mark.parametrize(
    "text",
    ["sharing: grup", "sharing:", "sharing: [all]", "share: all", "a\0", "sharing: all\n" * 2],
)
def test_anything_else_is_refused_with_its_line(project: Project, text: str) -> None:
    say(project, text)
    with pytest.raises(InvalidInput) as caught:
        load_sharing(project)
    assert caught.value.where and caught.value.where.startswith(".models/project.yaml:")
    assert "private, group, all" in (caught.value.hint or "")


@pytest.mark.parametrize("sharing", Sharing)
def test_the_socket_of_a_service_follows(project: Project, sharing: Sharing) -> None:
    say(project, project_file_text(sharing))
    path = project.service_socket("production")
    make_folder(path.parent)
    with listen_locally(path):
        assert mode(path) == MODES[sharing][1]


def test_a_project_that_says_nothing_is_private(project: Project) -> None:
    assert load_sharing(project) is Sharing.PRIVATE
    say(project, "# nothing yet\n")
    assert load_sharing(project) is Sharing.PRIVATE


def test_a_restore_under_way_belongs_to_the_project_that_it_lies_in(project: Project) -> None:
    staged = Project(project.restores / "1" / "new")
    for folder in (staged.configs, staged.models):
        folder.mkdir(parents=True)
    found = shared_at(staged.configs / "a.yaml")
    assert found is not None and found.project == project
