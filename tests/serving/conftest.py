"""Services of a project: one that a module's tests share, and one that a test may change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from killed import SOAK
from modelyard.adapters.versions import load_version
from modelyard.core.layout import Project
from served import Running, serving

if TYPE_CHECKING:  # the projects are made with torch, which `make test-pythons` goes without
    from marked_project import Marked


@pytest.fixture(scope="session")
def served_project(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path
) -> Iterator[tuple[Project, Path]]:
    """The project of all services here, and the home that it was made in."""
    from served_project import write_served

    folder = tmp_path_factory.mktemp("served")
    home = folder / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        _live_in(patch, home)
        yield write_served(folder / "project", tiny_base_folder), home


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, served_project: tuple[Project, Path]
) -> Iterator[Running]:
    """A service of a copy of it, for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        _live_in(patch, served_project[1])
        with serving(_copy(served_project[0], tmp_path_factory.mktemp("shared"))) as service:
            yield service


@pytest.fixture
def running(shared: Running, in_home: None, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The same, in a test that is in its project and has its home."""
    monkeypatch.chdir(shared.project.root)
    return shared


@pytest.fixture
def in_home(
    own_home: Path, served_project: tuple[Project, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give the test the home that the project was made in."""
    _live_in(monkeypatch, served_project[1])


@pytest.fixture
def talking(
    tmp_path: Path,
    served_project: tuple[Project, Path],
    in_home: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """A copy of the project, which a test may change; the current folder is in it."""
    project = _copy(served_project[0], tmp_path)
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture(scope="session")
def marked_made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Marked, Path]]:
    """The project of many organisations, and the home that it was made in."""
    from marked_service import write_marked_service

    folder = tmp_path_factory.mktemp("marked")
    organisations, promoted = (50, 12) if SOAK > 1 else (10, 3)
    home = folder / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        _live_in(patch, home)
        made = write_marked_service(
            folder / "project", organisations=organisations, promoted=promoted
        )
        yield made, home


@pytest.fixture
def marked(
    tmp_path: Path,
    own_home: Path,
    marked_made: tuple[Marked, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Marked:
    """A copy of it, which a test may change; the current folder is in it."""
    from marked_project import Marked

    made, home = marked_made
    _live_in(monkeypatch, home)
    project = _copy(made.project, tmp_path)
    monkeypatch.chdir(project.root)
    seconds = [load_version(project, each.adapter, each.number) for each in made.seconds]
    return Marked(project, made.organisations, seconds)


@pytest.fixture
def answer() -> str:
    """What the bases say."""
    from served_project import ANSWER

    return ANSWER


def _copy(project: Project, folder: Path) -> Project:
    root = folder / "project"
    shutil.copytree(project.root, root, symlinks=True)
    return Project(root)


def _live_in(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setenv("HOME", str(home))
    patch.setenv("MODELS_CACHE", str(home / "models-cache"))
    patch.setenv("HF_HOME", str(home / "huggingface"))
