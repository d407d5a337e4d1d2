from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from modelyard.adapters.training_info import installed_packages, source_commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A package in a git repository with one commit."""
    source = tmp_path / "repository" / "src" / "package"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    git(source, "init", "-q", str(tmp_path / "repository"))
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    return source


def git(folder: Path, *arguments: str) -> str:
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    ended = subprocess.run(
        ["git", "-C", str(folder), *person, *arguments], check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


def test_the_packages_that_matter_are_listed_with_their_versions() -> None:
    packages = installed_packages()
    assert version("peft") == packages["peft"]
    assert "modelyard" in packages
    assert "pytest" not in packages


def test_the_commit_is_that_of_the_source(checkout: Path) -> None:
    assert source_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_changed_files_are_said_to_be_changed(checkout: Path) -> None:
    (checkout / "__init__.py").write_text("changed = True\n")
    assert source_commit(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_change_elsewhere_in_the_repository_does_not_count(checkout: Path) -> None:
    (checkout.parents[1] / "README.md").write_text("new")
    assert source_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_package_installed_inside_somebodys_repository_has_no_commit(checkout: Path) -> None:
    installed = checkout.parents[1] / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert source_commit(installed) is None


def test_outside_git_or_without_it_there_is_no_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert source_commit(checkout) is None


def test_a_git_hooks_variables_do_not_lead_elsewhere(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    found = source_commit(checkout)
    monkeypatch.delenv("GIT_DIR")
    assert found == git(checkout, "rev-parse", "HEAD")
