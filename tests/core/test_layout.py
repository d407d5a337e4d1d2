from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, cache_folder, check_name, find_project


@pytest.fixture
def empty_project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    return Project(root)


@pytest.mark.parametrize("name", ["a", "0", "techcorp-demo", "qwen2.5_3b", "a" * 64])
def test_plain_names_are_accepted(name: str) -> None:
    assert check_name(name, "adapter") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "../x",
        "/etc",
        "a/b",
        "a\\b",
        "A",
        ".hidden",
        "-rf",
        "a b",
        "a\n",
        "a\0",
        "é",
        "a" * 65,
    ],
)
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid adapter name"):
        check_name(name, "adapter")


@pytest.mark.parametrize(
    "place", ["dataset", "experiment", "base_card", "adapter_versions", "trained_link"]
)
def test_every_place_with_a_name_checks_it(empty_project: Project, place: str) -> None:
    with pytest.raises(InvalidInput):
        getattr(empty_project, place)("../../etc")


def test_a_lock_checks_its_name(empty_project: Project) -> None:
    assert empty_project.lock("adapter", "a").name == "adapter-a.lock"
    with pytest.raises(InvalidInput):
        empty_project.lock("adapter", "../a")


def test_the_project_is_found_from_a_folder_deep_inside(empty_project: Project) -> None:
    deep = empty_project.root / "datasets" / "x"
    deep.mkdir(parents=True)
    assert find_project(deep) == empty_project


def test_the_project_is_found_from_the_environment(
    empty_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_PROJECT", str(empty_project.root))
    assert find_project() == empty_project


def test_outside_a_project_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not inside a project") as caught:
        find_project(tmp_path)
    assert "models init" in str(caught.value.hint)


def test_paths_are_shown_as_typed_inside_the_project(empty_project: Project) -> None:
    assert empty_project.show(empty_project.dataset("x")) == "datasets/x"
    assert empty_project.show(Path("/elsewhere")) == "/elsewhere"


def test_a_link_out_of_the_project_is_refused(empty_project: Project, tmp_path: Path) -> None:
    empty_project.datasets.mkdir()
    (empty_project.datasets / "x").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="leaves the project"):
        empty_project.contain(empty_project.dataset("x"), "dataset")


def test_a_link_inside_the_project_is_followed(empty_project: Project) -> None:
    (empty_project.datasets / "y").mkdir(parents=True)
    (empty_project.datasets / "x").symlink_to("y")
    resolved = empty_project.contain(empty_project.dataset("x"), "dataset")
    assert resolved == (empty_project.datasets / "y").resolve()


def test_a_project_that_is_itself_reached_through_a_link_contains_its_files(
    empty_project: Project, tmp_path: Path
) -> None:
    (tmp_path / "shortcut").symlink_to(empty_project.root)
    linked = Project(tmp_path / "shortcut")
    assert linked.contain(linked.datasets, "folder") == empty_project.datasets.resolve()


def test_a_circle_of_links_is_an_error_and_not_a_crash(empty_project: Project) -> None:
    empty_project.datasets.mkdir()
    (empty_project.datasets / "x").symlink_to("y")
    (empty_project.datasets / "y").symlink_to("x")
    with pytest.raises(InvalidInput, match="broken link"):
        empty_project.contain(empty_project.dataset("x"), "dataset")


def test_the_cache_is_the_one_named_else_the_xdg_one(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == own_home / "models-cache"
    monkeypatch.delenv("MODELS_CACHE")
    assert cache_folder() == own_home / ".cache" / "modelyard"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "modelyard"


def test_a_path_that_a_config_names_starts_at_the_project_or_at_home(
    empty_project: Project,
) -> None:
    root = empty_project.root
    assert empty_project.written_path("models/one") == root / "models" / "one"
    assert empty_project.written_path("~/models") == Path.home() / "models"
    assert empty_project.written_path("/srv/models") == Path("/srv/models")
    assert empty_project.written_path("~nobody-here/models") == root / "~nobody-here" / "models"
