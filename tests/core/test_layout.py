from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Yard, cache_folder, check_name, find_yard


@pytest.fixture
def empty_yard(tmp_path: Path) -> Yard:
    root = tmp_path / "yard"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    return Yard(root)


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
def test_every_place_with_a_name_checks_it(empty_yard: Yard, place: str) -> None:
    with pytest.raises(InvalidInput):
        getattr(empty_yard, place)("../../etc")


def test_a_lock_checks_its_name(empty_yard: Yard) -> None:
    assert empty_yard.lock("adapter", "a").name == "adapter-a.lock"
    with pytest.raises(InvalidInput):
        empty_yard.lock("adapter", "../a")


def test_the_yard_is_found_from_a_folder_deep_inside(empty_yard: Yard) -> None:
    deep = empty_yard.root / "datasets" / "x"
    deep.mkdir(parents=True)
    assert find_yard(deep) == empty_yard


def test_the_yard_is_found_from_the_environment(
    empty_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_YARD", str(empty_yard.root))
    assert find_yard() == empty_yard


def test_outside_a_yard_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not inside a yard") as caught:
        find_yard(tmp_path)
    assert "models init" in str(caught.value.hint)


def test_paths_are_shown_as_typed_inside_the_yard(empty_yard: Yard) -> None:
    assert empty_yard.show(empty_yard.dataset("x")) == "datasets/x"
    assert empty_yard.show(Path("/elsewhere")) == "/elsewhere"


def test_a_link_out_of_the_yard_is_refused(empty_yard: Yard, tmp_path: Path) -> None:
    empty_yard.datasets.mkdir()
    (empty_yard.datasets / "x").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="leaves the yard"):
        empty_yard.contain(empty_yard.dataset("x"), "dataset")


def test_a_link_inside_the_yard_is_followed(empty_yard: Yard) -> None:
    (empty_yard.datasets / "y").mkdir(parents=True)
    (empty_yard.datasets / "x").symlink_to("y")
    resolved = empty_yard.contain(empty_yard.dataset("x"), "dataset")
    assert resolved == (empty_yard.datasets / "y").resolve()


def test_a_yard_that_is_itself_reached_through_a_link_contains_its_files(
    empty_yard: Yard, tmp_path: Path
) -> None:
    (tmp_path / "shortcut").symlink_to(empty_yard.root)
    linked = Yard(tmp_path / "shortcut")
    assert linked.contain(linked.datasets, "folder") == empty_yard.datasets.resolve()


def test_a_circle_of_links_is_an_error_and_not_a_crash(empty_yard: Yard) -> None:
    empty_yard.datasets.mkdir()
    (empty_yard.datasets / "x").symlink_to("y")
    (empty_yard.datasets / "y").symlink_to("x")
    with pytest.raises(InvalidInput, match="leads nowhere"):
        empty_yard.contain(empty_yard.dataset("x"), "dataset")


def test_the_cache_is_the_one_named_else_the_xdg_one(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == own_home / "models-cache"
    monkeypatch.delenv("MODELS_CACHE")
    assert cache_folder() == own_home / ".cache" / "modelyard"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "modelyard"


def test_a_path_that_a_config_names_starts_at_the_yard_or_at_home(empty_yard: Yard) -> None:
    root = empty_yard.root
    assert empty_yard.written_path("models/one") == root / "models" / "one"
    assert empty_yard.written_path("~/models") == Path.home() / "models"
    assert empty_yard.written_path("/srv/models") == Path("/srv/models")
    assert empty_yard.written_path("~nobody-here/models") == root / "~nobody-here" / "models"
