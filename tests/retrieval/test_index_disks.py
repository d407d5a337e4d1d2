"""Indexes on a disk that is really full or read-only: a small one, mounted for the test."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from serial_trees import (
    assert_sound,
    chunks_of_version,
    content_of,
    make_serial_docs,
    words_of,
    write_tree,
)

from index_projects import Docs, all_chunks
from killed import fork
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.encoders import open_encoder
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.search import Searcher
from shared_project import share_with_all
from small_disk import mounted_disk, remount
from tiny_encoders import write_encoder
from toy_encoder import ToyEncoders

TINY_CONFIG = """
description: For tests
encoder: {{source: path, model: {folder}, dimensions: 32, max_tokens: 48}}
domains:
  docs: {{description: Documents, sources: ["docs/**/*.md"], chunker: markdown, chunk_tokens: 40}}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 4 MB."""
    with mounted_disk(tmp_path / "disk", "4m") as place:
        yield place


def fill(disk: Path, *, but: int) -> None:
    """Take all the space of a disk but so many bytes."""
    free = shutil.disk_usage(disk).free
    with (disk / "filling").open("wb", buffering=0) as stream:
        left = free - but
        while left > 0:
            try:
                left -= stream.write(b"x" * min(left, 1 << 16)) or 0
            except OSError:
                break


def free(disk: Path) -> None:
    (disk / "filling").unlink(missing_ok=True)


def seen_by_fresh_reader(index: Path) -> frozenset[object]:
    with open_index(index) as reader:
        return frozenset(content_of(all_chunks(reader)))


@pytest.mark.parametrize("rebuild", [False, True])
def test_on_a_full_disk_the_old_index_answers_and_the_next_update_completes(
    disk: Path, rebuild: bool, tmp_path: Path
) -> None:
    """With nothing left, and with a little more each time, until the update goes through."""
    docs = make_serial_docs(disk / "project", 0)
    docs.update()
    failed, serial, went_through = 0, 0, False
    searcher = Searcher(docs.project, encoders=ToyEncoders())
    for left in range(0, 1 << 20, 12 << 10):
        write_tree(docs, serial + 1)
        fill(disk, but=left)
        try:
            docs.update(rebuild=rebuild)
        except ModelyardError as error:
            assert isinstance(error, NoSpace), f"with {left} bytes left: {error!r}"
            assert "no space left" in str(error) and error.hint and "free some space" in error.hint
            failed += 1
            assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(serial), left
            found = searcher.search("what does file f05 say", top=50)
            assert found.results and content_of(
                result.chunk for result in found.results
            ) <= chunks_of_version(serial)
        else:
            serial, went_through = serial + 1, True
        free(disk)
        names = {path.name for path in docs.index.path.parent.iterdir()}
        assert names == {docs.index.path.name}, f"left behind with {left} bytes: {names}"
        if went_through:
            break
        docs.update()
        serial += 1
        assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(serial)
    searcher.close()
    assert failed >= 3 and went_through
    docs.update()
    assert_sound(docs.index.path, tmp_path / "copy.index")
    print(f"{failed} updates failed for want of space before one went through")


def test_a_full_disk_of_the_embedding_cache_alone_is_reported(disk: Path, tmp_path: Path) -> None:
    docs = make_serial_docs(tmp_path / "project", 0)
    (disk / "state").mkdir()
    docs.project.local_state.symlink_to(disk / "state")
    docs.update()
    write_tree(docs, 1)
    fill(disk, but=0)
    with pytest.raises(NoSpace, match="no space left") as raised:
        docs.update()
    assert str(docs.project.local_state) in str(raised.value)
    assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(0)
    free(disk)
    docs.update()
    assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(1)


def test_an_encoder_that_a_full_disk_cannot_keep_is_used_and_prepared_again(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_CACHE", str(disk / "cache"))
    docs = make_serial_docs(tmp_path / "project", 0)
    folder = write_encoder(tmp_path / "encoder")
    settings = Encoder(source="path", model=str(folder), dimensions=32, max_tokens=48)
    for free_bytes in (0, 1_200_000):  # the latter is asked for, and less than it takes
        fill(disk, but=free_bytes)
        assert open_encoder(docs.project, settings).encode_query("the").shape == (32,)
        free(disk)
    open_encoder(docs.project, settings)
    assert list((disk / "cache" / "encoders" / "graphs").rglob("*.onnx"))
    left = [path.name for path in (disk / "cache").rglob("*") if path.name.startswith(".staging-")]
    assert left == []


def command(docs: Docs, *words: str) -> subprocess.CompletedProcess[str]:
    """`models ...` as a process in the project."""
    return subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        cwd=docs.project.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_commands_say_that_the_disk_is_full_or_read_only_without_a_traceback(
    disk: Path, tmp_path: Path
) -> None:
    docs = make_serial_docs(disk / "project", 0)
    folder = write_encoder(tmp_path / "encoder")
    docs.write("../configs/embedding_models/texts.yaml", TINY_CONFIG.format(folder=folder))
    first = command(docs, "update-embeddings")
    assert first.returncode == 0, first.stderr
    write_tree(docs, 1)
    fill(disk, but=0)
    for words in (("update-embeddings",), ("update-embeddings", "--rebuild")):
        ended = command(docs, *words)
        assert ended.returncode == 1, ended.stderr
        assert "no space left" in ended.stderr and "Traceback" not in ended.stderr
        assert "a bug in modelyard" not in ended.stderr
    searched = command(docs, "search", "what does file f05 say", "--domain", "docs", "--json")
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["results"]
    free(disk)
    write_tree(docs, 2)
    remount(disk, "ro")
    searched = command(docs, "search", "what does file f05 say", "--domain", "docs", "--json")
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["results"]
    status = command(docs, "index", "status", "--json")
    assert status.returncode in (0, 4), status.stderr
    ended = command(docs, "update-embeddings")
    assert ended.returncode == 1, ended.stderr
    assert "no access" in ended.stderr and "Traceback" not in ended.stderr
    remount(disk, "rw")
    assert command(docs, "update-embeddings").returncode == 0


def test_a_read_only_disk_is_searched(disk: Path) -> None:
    docs = make_serial_docs(disk / "project", 0)
    docs.update()
    remount(disk, "ro")
    assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(0)
    searcher = Searcher(docs.project, encoders=ToyEncoders())
    assert searcher.search("what does file f05 say").results
    searcher.close()
    with pytest.raises(ModelyardError, match="no access"):
        docs.update()


@pytest.mark.parametrize("rebuild", [False, True])
def test_indexes_on_a_read_only_disk_of_their_own_cannot_be_updated_and_it_says_why(
    disk: Path, tmp_path: Path, rebuild: bool
) -> None:
    docs = make_serial_docs(tmp_path / "project", 0)
    (disk / "embeddings").mkdir()
    docs.project.embeddings.symlink_to(disk / "embeddings")
    docs.update()
    write_tree(docs, 1)
    remount(disk, "ro")
    with pytest.raises(ModelyardError, match=r"(?i)read-only"):
        docs.update(rebuild=rebuild)
    assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(0)


def test_what_a_killed_update_left_on_a_disk_that_is_read_only_now_is_reported(disk: Path) -> None:
    """Half of a commit lies in the file, and it cannot be taken back: no answer is better."""
    docs = make_serial_docs(disk / "project", 0)
    docs.update()
    die_within_a_commit(docs)
    remount(disk, "ro")
    searcher = Searcher(docs.project, encoders=ToyEncoders())
    with pytest.raises(ModelyardError, match="update was interrupted") as raised:
        searcher.search("what does file f05 say")
    assert raised.value.hint
    searcher.close()
    remount(disk, "rw")
    assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(0)


def die_within_a_commit(docs: Docs) -> None:
    """Leave a journal and changed pages, as a process that is killed between its writes."""

    def half() -> None:
        import sqlite3

        connection = sqlite3.connect(docs.index.path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(20):
            connection.execute("UPDATE passages SET text = text || hex(zeroblob(500))")
        os.kill(os.getpid(), 9)

    os.waitpid(fork(half), 0)
    assert docs.index.path.with_name(f"{docs.index.path.name}-journal").stat().st_size > 0


def as_another_user(work: Callable[[], object]) -> None:
    """Run `work` in a process of somebody who owns nothing here; it must end well."""

    def other() -> None:
        os.setgid(65534)
        os.setuid(65534)
        work()

    assert os.waitpid(fork(other), 0)[1] == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter; pytest's own are private."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with TemporaryDirectory(prefix="modelyard-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        closed = [parent for parent in folder.parents if not parent.stat().st_mode & stat.S_IXOTH]
        if closed:
            pytest.skip(f"others may not enter {closed[0]}")
        yield folder


def test_who_may_only_read_searches_and_cannot_update(open_folder: Path) -> None:
    share_with_all(Project(open_folder / "project"))
    docs = make_serial_docs(open_folder / "project", 0)
    docs.update()
    docs.index.path.chmod(0o444)

    def look() -> None:
        assert seen_by_fresh_reader(docs.index.path) == chunks_of_version(0)
        searcher = Searcher(docs.project, encoders=ToyEncoders())
        assert searcher.search("what does file f05 say").results
        searcher.close()
        try:
            docs.update()
        except ModelyardError as error:
            assert "no access" in str(error)
        else:
            raise AssertionError("it could be updated")

    as_another_user(look)


def test_updates_after_the_disk_was_full_end_where_a_fresh_build_does(
    disk: Path, tmp_path: Path
) -> None:
    docs = make_serial_docs(disk / "project", 0)
    docs.update()
    for serial in range(1, 9):
        write_tree(docs, serial)
        fill(disk, but=serial * 9_000)
        with suppress(NoSpace):
            docs.update(rebuild=serial % 3 == 0)
        free(disk)
    docs.update()
    scratch = make_serial_docs(tmp_path / "scratch", 8)
    scratch.update()
    assert docs.rows() == scratch.rows()
    assert words_of(docs.index.path) == words_of(scratch.index.path)
