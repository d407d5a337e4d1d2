"""A new project has one working example of everything, and never overwrites a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.chatdata.dataset import load_dataset
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project, find_project
from modelyard.settings.cards import load_card
from modelyard.setup.init import init_project, load_starter
from modelyard.weights.catalogue import load_catalogue

REPOSITORY = Path(__file__).parents[2]


def content_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_new_project_is_a_project_with_three_bases_and_a_dataset(tmp_path: Path) -> None:
    init_project(tmp_path / "new")
    project = find_project(tmp_path / "new" / "datasets")
    assert project.root == tmp_path / "new"
    assert sorted(load_catalogue(project)) == [
        "mistral-7b-instruct",
        "qwen-3b-instruct",
        "smollm2-135m-instruct",
    ]
    dataset = load_dataset(project, "example")
    assert (len(dataset.train), len(dataset.evaluation)) == (24, 6)


def test_what_is_written_equals_the_repository_s_own_files(tmp_path: Path) -> None:
    init_project(tmp_path)
    shared = [
        *REPOSITORY.glob("models/base/*/MODEL_INFO.md"),
        *REPOSITORY.glob("configs/**/*.yaml"),
        *(REPOSITORY / folder / "README.md" for folder in ("models", "configs", "datasets")),
        REPOSITORY / "experiments" / "README.md",
    ]
    assert len(shared) >= 9
    for file in shared:
        assert (tmp_path / file.relative_to(REPOSITORY)).read_bytes() == file.read_bytes()


READ_AS_THEY_ARE = ("datasets/techcorp_handbook/pages/",)  # what questions are answered from


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in load_starter()
        if not path.endswith(".jsonl") and not path.startswith(READ_AS_THEY_ARE)
    ],
)
def test_every_file_opens_by_saying_which_command_uses_it(path: str) -> None:
    opening = "\n".join(load_starter()[path].decode().splitlines()[:8])
    assert "models " in opening or "git add" in opening, opening


def test_the_example_s_card_counts_its_rows_and_names_its_fingerprint(tmp_path: Path) -> None:
    project = init_project(tmp_path).project
    front = load_card(project.dataset("example") / "DATASET.md").front.value
    dataset = load_dataset(project, "example")
    assert front["fingerprint"] == dataset.fingerprint
    assert front["rows"] == {"train": len(dataset.train), "eval": len(dataset.evaluation)}


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    first = init_project(tmp_path)
    before = content_of(tmp_path)
    second = init_project(tmp_path)
    assert (second.written, second.kept) == ((), first.written)
    assert content_of(tmp_path) == before


def test_a_file_that_exists_is_kept_and_the_rest_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "README.md").symlink_to("nowhere")
    outcome = init_project(tmp_path)
    assert outcome.kept == ("README.md", "datasets/README.md")
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / "datasets" / "README.md").readlink() == Path("nowhere")
    assert set(outcome.written) | set(outcome.kept) == {*load_starter(), ".models/project.yaml"}


def test_a_dry_run_writes_nothing_and_says_what_would_be(tmp_path: Path) -> None:
    outcome = init_project(tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()
    assert outcome.written == init_project(tmp_path / "new").written


@pytest.mark.parametrize("taken", [".", "models", "configs/fine_tuning"])
def test_a_file_where_a_folder_should_be_stops_it_before_anything_is_written(
    tmp_path: Path, taken: str
) -> None:
    root = tmp_path / "new"
    (root / taken).parent.mkdir(parents=True, exist_ok=True)
    (root / taken).write_text("a file")
    before = content_of(tmp_path)
    with pytest.raises(InvalidInput, match="is not a folder"):
        init_project(root)
    assert content_of(tmp_path) == before


def test_a_project_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is not a folder"):
        init_project(tmp_path / "file" / "project")


def test_nothing_is_written_through_a_link_that_leaves_the_project(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "new"
    root.mkdir()
    (root / "models").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="leaves the project"):
        init_project(root)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("inside", ["datasets", "models/mine", ".models/x"])
def test_a_project_is_not_made_in_the_folders_of_another(tmp_path: Path, inside: str) -> None:
    project = init_project(tmp_path / "outer").project
    before = content_of(project.root)
    with pytest.raises(InvalidInput, match="of the project") as caught:
        init_project(project.root / inside)
    assert caught.value.where == str(project.root / inside)
    assert content_of(project.root) == before
    assert init_project(project.root / "beside").written


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ModelyardError, match="cannot write") as caught:
        init_project(tmp_path / "new")
    assert caught.value.where is not None


def test_nothing_is_wrong_with_the_configs_of_a_new_project(tmp_path: Path) -> None:
    init_project(tmp_path / "new")
    catalogue = ConfigCatalogue(Project(tmp_path / "new"))
    report = check_configs(catalogue, catalogue.paths(), strict=True, unread=True)
    assert report.files and report.findings == ()
