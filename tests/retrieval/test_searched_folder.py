"""`models search --in PATH`: a folder that is no project, its indexes, and what is kept of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.files import shared_lock
from modelyard.core.layout import searched_folders
from modelyard.core.layout import shared_lock as lock_of_all_projects
from modelyard.core.progress import Silent
from modelyard.retrieval import searched_folder
from modelyard.retrieval.searched_folder import open_searched_folder
from toy_encoder import ToyEncoder

Models = Callable[..., int]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ToyEncoder:
    toy = ToyEncoder(dimensions=384)
    place = "modelyard.encoders.encoder.Encoders"
    monkeypatch.setattr(f"{place}.fingerprint", lambda encoders, settings: toy.fingerprint)
    monkeypatch.setattr(f"{place}.open", lambda encoders, settings, texts=0: toy)
    return toy


@pytest.fixture
def tree(tmp_path: Path, encoder: ToyEncoder) -> Path:
    """A git work tree with code, prose and what git ignores."""
    root = tmp_path / "tree"
    files = {
        ".gitignore": "build/\n*.secret.md\n",
        "README.md": "# Deploying\n\nRoll back a release with one command.\n",
        "src/release.py": "def roll_back(release):\n    return release.parent\n",
        "src/notes.secret.md": "# Nobody\n\nRoll back nothing.\n",
        "build/out.md": "# Built\n\nRoll back a release, said the copy.\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / ".git").mkdir()
    return root


def found(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [result["path"] for result in json.loads(capsys.readouterr().out)["results"]]


def test_a_folder_is_searched_without_a_project(
    tree: Path, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("search", "roll back a release", "--in", str(tree), "--json") == 0
    assert found(capsys) == ["README.md", "src/release.py"], "what git ignores is left out"
    assert not {path.name for path in tree.iterdir()} & {".models", "models"}
    assert searched_folders().stat().st_mode & 0o777 == 0o700


def test_the_next_call_reads_and_embeds_only_what_changed(
    tree: Path, encoder: ToyEncoder, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("search", "roll back a release", "--in", str(tree), "--json")
    assert models_here(*ask) == 0
    first = list(encoder.encoded)
    assert models_here(*ask) == 0
    assert encoder.encoded == first
    (tree / "README.md").write_text("# Deploying\n\nRoll back twice.\n")
    (tree / "src" / "release.py").unlink()
    capsys.readouterr()
    assert models_here(*ask) == 0
    assert found(capsys) == ["README.md"]
    assert len(encoder.encoded) == len(first) + 1


def test_a_folder_of_a_work_tree_has_its_rules_and_other_places_have_other_indexes(
    tree: Path, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    for below, paths in {
        "src": ["src/release.py"],
        "build": ["build/out.md"],
        "README.md": ["README.md"],
        "src/release.py": ["src/release.py"],
    }.items():
        assert models_here("search", "roll back", "--in", str(tree / below), "--json") == 0
        assert found(capsys) == paths
    link = tree.parent / "link"
    link.symlink_to(tree / "src")
    before = set(searched_folders().iterdir())
    assert models_here("search", "roll back", "--in", str(link), "--json") == 0
    assert set(searched_folders().iterdir()) == before, "the real path is what counts"


def test_what_is_near_a_place_is_found_there_too(
    tree: Path,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tree / "src")
    assert models_here("search", "--related", "release.py:1", "--in", "..") == 0
    said = capsys.readouterr()
    assert said.out.startswith("1. README.md:")
    assert "near src/release.py:1-2" in said.err


def test_what_cannot_be_searched_is_refused(
    tree: Path,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert models_here("search", "x", "--in", str(tree / "gone")) == 2
    assert "there is no such folder or file" in capsys.readouterr().err
    assert models_here("search", "x", "--in", str(tree), "--domain", "docs") == 2
    assert "leave --domain and --env out" in capsys.readouterr().err
    (tree / "empty").mkdir()
    assert models_here("search", "x", "--in", str(tree / "empty")) == 5
    assert "holds no file that can be searched" in capsys.readouterr().err
    monkeypatch.setattr(searched_folder, "MOST_FILES", 0)
    with (
        pytest.raises(InvalidInput, match="holds 1 files, and --in takes 0"),
        open_searched_folder(tree, Silent()),
    ):
        pass


def test_old_and_large_indexes_are_removed_unless_they_are_in_use(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(name: str) -> Path:
        folder = tree / name
        folder.mkdir(exist_ok=True)
        with (folder / "page.md").open("a") as page:
            page.write(f"# Of {name}\n\nSome words.\n")
        with open_searched_folder(folder, Silent()) as searched:
            kept = searched.project.kept_in
        assert kept is not None
        return kept

    old, recent = search("one"), search("two")
    long_ago = time.time() - searched_folder.KEPT_S - 60
    os.utime(old, (long_ago, long_ago))
    with shared_lock(lock_of_all_projects("searched-folders"), what="indexes"):
        search("three")
        assert old.exists(), "another search is under way"
    search("three")
    assert not old.exists()
    assert recent.exists()
    monkeypatch.setattr(searched_folder, "KEPT_BYTES", 0)
    last = search("three")
    assert [path.name for path in searched_folders().iterdir()] == [last.name]
