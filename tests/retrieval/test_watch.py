"""A saved file is taken up within two seconds, and only by the indexes that it belongs to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from index_projects import Docs, make_docs, page
from modelyard.core.errors import ModelyardError
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.retrieval.damage import IndexMissing
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.watch import keep_up_to_date, watch_indexes
from tiny_encoders import write_encoder

SOON_S = 2.0
"""What the median of several saves keeps to; a busy machine may hold up a single one."""
LATE_S = 20.0


def wait_until(what: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < LATE_S, "it was not taken up"
        time.sleep(0.02)
    return time.monotonic() - began


class Recorded(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_docs(tmp_path / "project")
    made.write("bases.md", page("bases"))
    return made


@pytest.fixture
def recorded(docs: Docs) -> Iterator[Recorded]:
    """The index is followed by a thread while the test goes on."""
    stop, progress = threading.Event(), Recorded()

    def follow() -> None:
        for _ in keep_up_to_date(
            docs.project,
            [docs.index],
            docs.encoders,  # type: ignore[arg-type]
            progress=progress,
            stop=stop,
        ):
            pass

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        wait_until(lambda: docs.index.path.is_file())
        yield progress
    finally:
        stop.set()
        thread.join(10)


def test_a_failure_while_watching_is_reported_once_and_retried(
    docs: Docs, recorded: Recorded
) -> None:
    with exclusive_lock(docs.project.lock("search-texts", "docs"), what="index", wait_s=10):
        docs.write("ships.md", page("ships"))
        wait_until(lambda: bool(recorded.warnings))
        time.sleep(2.5)
    wait_until(lambda: any("ships" in repr(row) for row in docs.rows()))
    (warning,) = recorded.warnings
    assert warning.startswith("texts/docs: the index texts/docs is in use by process")
    assert warning.endswith("trying again")


def test_what_fails_at_the_start_is_raised(docs: Docs) -> None:
    with (
        exclusive_lock(docs.project.lock("search-texts", "docs"), what="index"),
        pytest.raises(ModelyardError, match="in use"),
    ):
        next(
            keep_up_to_date(
                docs.project,
                [docs.index],
                docs.encoders,  # type: ignore[arg-type]
                progress=Silent(),
            )
        )


def test_only_the_index_that_a_change_can_concern_is_updated(docs: Docs) -> None:
    settings = replace(docs.index.settings, sources=("scripts/**/*.sh", "NOTES.md"))
    scripts = replace(docs.index, name="scripts", settings=settings)
    root = docs.project.root
    stop = threading.Event()
    rounds = watch_indexes(docs.project, [docs.index, scripts], stop=stop)

    def concerned() -> list[str]:
        """Who is to be updated until it is quiet again."""
        found: set[str] = set()
        quiet = 0
        while quiet < 1:
            names = [item.name for item in next(rounds)]
            found |= set(names)
            quiet += not names
        return sorted(found)

    assert concerned() == ["docs", "scripts"], "all of them once"
    docs.write("new.md", page("new"))
    assert concerned() == ["docs"]
    (root / "scripts/v1.2").mkdir(parents=True)
    (root / "scripts/v1.2/run.sh").write_text("ls\n")
    assert concerned() == ["scripts"]
    (root / "scripts/v1.2").rename(root / "old")
    assert concerned() == ["scripts"]
    (root / "NOTES.md").write_text("# Notes\n")
    assert concerned() == ["scripts"]
    (root / "other").mkdir()
    (root / "docs/picture.png").write_bytes(b"\0")
    (root / "docs/picture.png").unlink()
    docs.index.path.parent.mkdir(parents=True)
    docs.index.path.write_bytes(b"")
    assert concerned() == []
    (root / "docs/.gitignore").write_text("new.md\n")
    assert concerned() == ["docs", "scripts"], "what it leaves out is for them to say"
    stop.set()
    assert next(rounds, None) is None


CONFIG = """\
description: For tests
encoder: {{source: path, model: {encoder}, dimensions: 32, max_tokens: 64}}
domains:
  documentation:
    description: Prose
    sources: ['docs/**/*.md']
    chunker: markdown
    chunk_tokens: 60
  guides:
    description: Files of a folder that is made later
    sources: ['guides/**/*.md']
    chunker: markdown
    chunk_tokens: 60
"""


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Project, subprocess.Popen[str]]]:
    """A project, and `models update-embeddings --watch` over it as a process of its own."""
    project = Project(tmp_path / "watched")
    encoder = write_encoder(tmp_path / "encoder")
    (project.configs / "embedding_models").mkdir(parents=True)
    (project.configs / "embedding_models/texts.yaml").write_text(CONFIG.format(encoder=encoder))
    project.models.mkdir()
    (project.root / "docs").mkdir()
    (project.root / "docs/first.md").write_text("# First\n\nThe first page.\n")
    words = ("-m", "modelyard", "--project", str(project.root), "update-embeddings", "--watch")
    with (
        (tmp_path / "stderr").open("w") as errors,
        subprocess.Popen(
            [sys.executable, *words, "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            began = time.monotonic()
            while not paths(project, "guides") == paths(project) - {"docs/first.md"} == set():
                assert process.poll() is None, (tmp_path / "stderr").read_text()
                assert time.monotonic() - began < 60, (tmp_path / "stderr").read_text()
                time.sleep(0.05)
            yield project, process
        finally:
            process.kill()


def paths(project: Project, index: str = "documentation") -> set[str]:
    """The files that the index has; one that is not there yet has a name no file has."""
    try:
        with open_index(load_indexes(project)[f"texts/{index}"].path) as reader:
            return {file.path for file in reader.files()}
    except IndexMissing:
        return {"no index"}


def test_a_watching_process_is_in_step_within_two_seconds_and_ends_by_interrupt(
    watched: tuple[Project, subprocess.Popen[str]],
) -> None:
    project, process = watched
    docs = project.root / "docs"
    took_s = []
    for name in ("ships", "trains", "planes"):
        (docs / "deep").mkdir(exist_ok=True)
        (docs / f"deep/{name}.md").write_text(f"# {name}\n\nHow {name} go.\n")
        took_s.append(wait_until(lambda name=name: f"docs/deep/{name}.md" in paths(project)))
    (docs / "first.md").unlink()
    took_s.append(wait_until(lambda: "docs/first.md" not in paths(project)))
    (docs / "deep").rename(docs / "far")
    moved = {f"docs/far/{name}.md" for name in ("ships", "trains", "planes")}
    took_s.append(wait_until(lambda: paths(project) == moved))
    (project.root / "guides/new").mkdir(parents=True)
    (project.root / "guides/new/one.md").write_text("# One\n\nThe first guide.\n")
    took_s.append(wait_until(lambda: paths(project, "guides") == {"guides/new/one.md"}))
    assert median(took_s) < SOON_S, took_s
    for number in range(200):
        (docs / f"{number}.md").write_text(f"# Number {number}\n")
    wait_until(lambda: len(paths(project)) == 203)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    left = sorted((project.embeddings / "texts").iterdir())
    assert left == sorted(index.path for index in load_indexes(project).values())
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    assert all(
        line.startswith('{"dry_run": false, "domains": [{"domain": "texts/') for line in lines
    )
