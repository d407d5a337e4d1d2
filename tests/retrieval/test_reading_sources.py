"""Which files an index has, and what is left out of them, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from modelyard.configs.kinds.embedding_models import Encoder, Fusion, IndexSettings
from modelyard.core.layout import Project
from modelyard.retrieval.indexes import declared_index
from modelyard.retrieval.reading.globs import matches_any
from modelyard.retrieval.reading.sources import Sources, find_sources


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    for name in ("README.md", "docs/a.md", "docs/deep/b.md", "docs/.hidden/c.md", "docs/x.txt"):
        write(root / name)
    return Project(root)


def write(path: Path, content: bytes = b"text\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def find(project: Project, *globs: str, **settings: object) -> Sources:
    chosen = IndexSettings(description="x", sources=globs, **settings)
    encoder = Encoder(source="wheel", model="m", dimensions=4, max_tokens=8)
    index = declared_index(project, "g", "d", settings=chosen, encoder=encoder, fusion=Fusion())
    return find_sources(project, index)


def test_a_picture_is_named_as_one_only_where_pictures_are_wanted(project: Project) -> None:
    write(project.root / "docs" / "plan.PNG", b"\x89PNG\0")
    assert find(project, "docs/*").skipped == {"binary": ["docs/plan.PNG"]}
    settings = IndexSettings(description="x", sources=("docs/*",))
    encoder = Encoder(source="wheel", model="m", dimensions=4, max_tokens=8)
    index = declared_index(
        *(project, "g", "d"),
        settings=settings,
        encoder=encoder,
        fusion=Fusion(),
        modalities=("text", "image"),
    )
    assert find_sources(project, index).skipped == {
        "a picture, and no encoder reads them yet": ["docs/plan.PNG"]
    }


def names(sources: Sources) -> list[str]:
    return [file.shown for file in sources.files]


def test_globs_are_followed_from_the_projects_root(project: Project) -> None:
    assert names(find(project, "docs/**/*.md")) == ["docs/a.md", "docs/deep/b.md"]
    assert names(find(project, "docs/*.md")) == ["docs/a.md"]
    assert names(find(project, "**/*.md", "README.md")) == [
        "README.md",
        "docs/a.md",
        "docs/deep/b.md",
    ]
    assert names(find(project, "docs/**")) == ["docs/a.md", "docs/deep/b.md", "docs/x.txt"]
    assert names(find(project, "docs/.hidden/*")) == ["docs/.hidden/c.md"]
    assert names(find(project, "docs/[ab].m?", "nothing/*")) == ["docs/a.md"]
    (readme,) = find(project, "README.md").files
    assert (readme.path, readme.size) == (str(project.root / "README.md"), 5)


def test_gitignore_holds_with_its_nested_files_and_exceptions(project: Project) -> None:
    write(project.root / ".gitignore", b"build/\n*.tmp.md\n!keep.tmp.md\n/docs/deep/only.md\n")
    write(project.root / "docs/deep/.gitignore", b"*.md\n!b.md\n")
    for name in ("docs/build/no.md", "docs/no.tmp.md", "docs/keep.tmp.md", "docs/deep/no.md"):
        write(project.root / name)
    found = find(project, "docs/**/*.md")
    assert names(found) == ["docs/a.md", "docs/deep/b.md", "docs/keep.tmp.md"]
    assert found.skipped == {"ignored": ["docs/deep/no.md", "docs/no.tmp.md"]}


TREE = ("a", "b/a", "b/c/a", "docs/a.py", "docs/keep/a", "docs/keep/b.py", "keep/docs/x", "x.py/a")


@pytest.mark.parametrize(
    ("rules", "ignored"),
    [
        ("*", set(TREE)),
        ("*\n!a", set(TREE) - {"a"}),
        ("*/", set(TREE) - {"a"}),
        ("**/\n!docs/", set(TREE) - {"a", "docs/a.py"}),
        ("/*\n!/docs", set(TREE) - {"docs/a.py", "docs/keep/a", "docs/keep/b.py"}),
        ("a", {"a", "b/a", "b/c/a", "docs/keep/a", "x.py/a"}),
        ("a/", set()),
        ("docs/**\n!docs/keep/", {"docs/a.py", "docs/keep/a", "docs/keep/b.py"}),
        ("docs/*\n!docs/keep", {"docs/a.py"}),
        ("*.py\n!/x.py", {"docs/a.py", "docs/keep/b.py"}),
        ("[bx]*/\n!/x.py/", {"b/a", "b/c/a"}),
        ("keep/", {"docs/keep/a", "docs/keep/b.py", "keep/docs/x"}),
        ("c/a", set()),
        ("**/c/a", {"b/c/a"}),
        ("[\n\\\nb/", {"b/a", "b/c/a"}),
    ],
)
def test_rules_ignore_what_git_ignores(tmp_path: Path, rules: str, ignored: set[str]) -> None:
    root = tmp_path / "repository"
    for name in TREE:
        write(root / name)
    write(root / ".gitignore", rules.encode())
    found = find(Project(root), "**")
    assert set(names(found)) == set(TREE) - ignored
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q", root], check=True)
        command = ["git", "-C", root, "check-ignore", "--no-index", *TREE]
        told = subprocess.run(command, capture_output=True, text=True).stdout
        assert set(told.split()) == ignored


def test_an_ignored_folder_that_a_glob_names_is_read(project: Project) -> None:
    write(project.root / ".gitignore", b".models/\nexperiments/*/\n")
    write(project.root / ".models/logs/a.log")
    write(project.root / "experiments/one/metrics.jsonl")
    globs = (".models/logs/*.log", "experiments/*/metrics.jsonl")
    assert names(find(project, *globs)) == [".models/logs/a.log", "experiments/one/metrics.jsonl"]
    assert names(find(project, "**/*.log", "experiments/**/*.jsonl")) == []


def test_what_is_left_out_is_named_with_its_reason(project: Project) -> None:
    write(project.root / "docs/big.txt", b"x" * 1000)
    write(project.root / "docs/binary.txt", b"a\0b")
    os.mkfifo(project.root / "docs/pipe.txt")
    (project.root / "docs/gone.txt").symlink_to("nowhere")
    (project.root / "docs/out.txt").symlink_to("/etc/hostname")
    (project.root / "docs/loop").symlink_to("..")
    found = find(project, "docs/**/*.txt", "../*", exclude=("**/x.*",), max_file_size_bytes=500)
    assert names(found) == []
    assert found.skipped == {
        "binary": ["docs/binary.txt"],
        "excluded": ["docs/x.txt"],
        "leaves the project": ["../*", "docs/out.txt"],
        "link in a loop": ["docs/loop/"],
        "not a file": ["docs/pipe.txt"],
        "too large": ["docs/big.txt"],
        "unreadable": ["docs/gone.txt"],
    }


def test_a_link_to_a_folder_of_the_project_is_followed_once(project: Project) -> None:
    (project.root / "docs/linked").symlink_to("../docs/deep")
    (project.root / "docs/deep/again").symlink_to("../linked")
    found = find(project, "docs/**/*.md")
    assert names(found) == ["docs/a.md", "docs/deep/b.md", "docs/linked/b.md"]
    assert "link in a loop" in found.skipped


def test_a_name_that_is_no_text_can_be_stored(project: Project) -> None:
    Path(os.fsdecode(os.fsencode(project.root / "docs") + b"/\xff.md")).write_text("x")
    (file,) = find(project, "docs/\ufffd.md", "docs/?.md", exclude=("docs/a.md",)).files
    assert file.shown == "docs/\ufffd.md"
    file.shown.encode()


def test_ten_thousand_files_are_found_in_well_under_a_second(project: Project) -> None:
    for folder in range(100):
        place = project.root / f"src/p{folder}"
        place.mkdir(parents=True)
        for number in range(100):
            (place / f"m{number}.py").write_bytes(b"x = 1\n")
    write(project.root / ".gitignore", b"build/\n*.o\n__pycache__/\n.venv/\ndist/\n")
    started = time.process_time()
    assert len(find(project, "src/**/*.py").files) == 10_000
    assert time.process_time() - started < 1


def test_a_path_is_matched_as_a_whole() -> None:
    assert matches_any("tests/a/b.py", ["tests/**"])
    assert matches_any("x/vendor/b.py", ["**/vendor/**"])
    assert matches_any("vendor/b.py", ["**/vendor/**"])
    assert not matches_any("src/tests.py", ["tests/**"])
