"""An update that is cut off anywhere leaves a whole index, and the next one completes it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from serial_trees import (
    FILES,
    Witness,
    assert_sound,
    chunks_of_version,
    content_of,
    make_serial_docs,
    words_of,
    write_tree,
)

from index_projects import Docs, all_chunks, make_docs, page
from killed import SOAK, fork, interruptions, kill_after
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.os_errors import NoSpace
from modelyard.retrieval.index_file import connect_index, open_index
from modelyard.retrieval.search import Searcher
from toy_encoder import ToyEncoders

KILLS = 5 if SOAK == 1 else 10 * SOAK


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_docs(tmp_path / "project")
    for name in ("adapters", "bases", "search"):
        made.write(f"{name}.md", page(name, 2))
    return made


def edit(docs: Docs) -> None:
    """A file of each fate: changed, moved, removed, added."""
    docs.write("bases.md", page("bases", 3).replace("part 0", "piece 0"))
    shutil.move(docs.project.root / "docs/adapters.md", docs.project.root / "docs/moved.md")
    (docs.project.root / "docs/search.md").unlink()
    docs.write("new.md", page("new", 2))


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("rebuild", [False, True])
def test_an_update_interrupted_at_any_call_leaves_the_old_index_or_the_new(
    docs: Docs, how: Literal["kill", "fail"], rebuild: bool, tmp_path: Path
) -> None:
    docs.update()
    before = docs.rows()
    start = tmp_path / "start"
    shutil.copytree(docs.project.root, start)
    edit(docs)
    docs.update(rebuild=True)
    after = docs.rows()

    def put_back() -> None:
        shutil.rmtree(docs.project.root)
        shutil.copytree(start, docs.project.root)
        edit(docs)

    put_back()
    for number in interruptions(lambda: docs.update(rebuild=rebuild), how):
        found = docs.rows()
        if how == "kill" or number == 0:
            assert found in (before, after), f"neither old nor new after call {number}"
        docs.update()
        assert docs.rows() == after, f"not completed after call {number}"
        left = [path.name for path in docs.index.path.parent.iterdir()]
        assert left == [docs.index.path.name]
        put_back()


def test_a_first_build_interrupted_at_any_call_leaves_no_index_or_a_whole_one(docs: Docs) -> None:
    docs.update()
    after = docs.rows()

    def put_back() -> None:
        shutil.rmtree(docs.index.path.parent)
        shutil.rmtree(docs.project.local_state, ignore_errors=True)

    put_back()
    for _ in interruptions(docs.update, "kill"):
        if docs.index.path.exists():
            assert docs.rows() == after
        docs.update()
        assert docs.rows() == after
        put_back()


def search_until_stopped(docs: Docs, states: range, *, warm: bool) -> None:
    """Search without end; the searcher stays open or is another one each time."""
    witness, chance = Witness(states), random.Random(warm)
    searcher = make_searcher(docs)
    while True:
        number = chance.randrange(FILES)
        query = chance.choice([f"what does file f{number:02} say", "part 2", f"f{number:02}.md"])
        witness.check_answer(searcher.search(query, top=50))
        if not warm:
            searcher.close()
            searcher = make_searcher(docs)


def make_searcher(docs: Docs) -> Searcher:
    return Searcher(docs.project, encoders=ToyEncoders())


def read_until_stopped(docs: Docs, states: range) -> None:
    """Read all that the index has without end."""
    witness = Witness(states)
    while True:
        with open_index(docs.index.path) as reader:
            witness.check_whole(reader.meta.version, all_chunks(reader))


def kill_in_commit(docs: Docs, seconds: float) -> bool:
    """SIGKILL an update that long after its journal appeared; whether it was still at it."""
    journal = docs.index.path.with_name(f"{docs.index.path.name}-journal")
    child = fork(docs.update)
    while not journal.exists():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0
            return False
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_readers_see_whole_snapshots_while_updates_are_killed(tmp_path: Path) -> None:
    """Every search answers from one state of the files, and so do all that follow a kill."""
    chance = random.Random(7)
    docs = make_serial_docs(tmp_path / "project", 0)
    docs.update()
    states = range(3 * KILLS)
    for state in states:
        chunks_of_version(state)  # computed once, before the readers are forked
    readers = [
        fork(lambda: search_until_stopped(docs, states, warm=True)),
        fork(lambda: search_until_stopped(docs, states, warm=False)),
        fork(lambda: read_until_stopped(docs, states)),
    ]
    killed = left_journals = left_builds = serial = 0
    took_s = 0.3
    while killed < KILLS:
        serial += 1
        assert serial in states, "too few updates were killed before their end"
        write_tree(docs, serial)
        rebuild = chance.random() < 0.4
        if killed % 4 == 3:
            killed += kill_in_commit(docs, chance.uniform(0, 0.004))
        else:
            killed += kill_after(
                lambda again=rebuild: docs.update(rebuild=again), chance.uniform(0, took_s)
            )
        left = {path.name for path in docs.index.path.parent.iterdir()} - {docs.index.path.name}
        left_journals += f"{docs.index.path.name}-journal" in left
        left_builds += any(item.startswith(STAGING_PREFIX) for item in left)
        if chance.random() < 0.3:
            began = time.monotonic()
            assert os.waitpid(fork(lambda: docs.update(wait_s=10)), 0)[1] == 0
            took_s = 0.5 * took_s + 0.5 * (time.monotonic() - began)
            with open_index(docs.index.path) as reader:
                assert content_of(all_chunks(reader)) == chunks_of_version(serial)
    docs.update()
    for reader in readers:
        assert os.waitpid(reader, os.WNOHANG) == (0, 0), "a reader ended by itself"
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
    print(
        f"killed {killed} updates, of {serial} states: {left_journals} with a journal left, "
        f"{left_builds} with half of a new index"
    )
    assert {path.name for path in docs.index.path.parent.iterdir()} == {docs.index.path.name}
    assert_sound(docs.index.path, tmp_path / "copy.index")
    scratch = make_serial_docs(tmp_path / "scratch", serial)
    scratch.update()
    assert docs.rows() == scratch.rows()
    assert words_of(docs.index.path) == words_of(scratch.index.path)


@pytest.mark.parametrize("next_step", ["read", "update", "rebuild"])
def test_pages_that_a_killed_commit_had_written_are_taken_back(docs: Docs, next_step: str) -> None:
    docs.update()
    before = docs.rows()

    def die_with_half_of_it_on_the_disk() -> None:
        with closing(connect_index(docs.index.path, "rw")) as connection:
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(50):
                connection.execute("UPDATE passages SET text = text || hex(zeroblob(3000))")
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(fork(die_with_half_of_it_on_the_disk), 0)
    journal = docs.index.path.with_name(f"{docs.index.path.name}-journal")
    assert journal.stat().st_size > 0
    if next_step != "read":
        docs.update(rebuild=next_step == "rebuild")
        assert not journal.exists()
    assert docs.rows() == before


def test_two_updates_at_once_one_waits(docs: Docs) -> None:
    children = [fork(lambda: docs.update(wait_s=60)) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    with open_index(docs.index.path) as reader:
        assert reader.meta.snapshot == 1
        assert reader.count_chunks() == 6


@pytest.mark.parametrize("rebuild", [False, True])
def test_on_a_full_disk_the_old_index_still_answers(
    docs: Docs, rebuild: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.update()
    before = docs.rows()
    edit(docs)

    # SQLite itself is given as many pages as it has, which is its way of a full disk.
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, *words: object) -> sqlite3.Cursor:
            if str(words[0]).startswith("BEGIN"):
                super().execute("PRAGMA max_page_count = 1")
            return super().execute(*words)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Full, **k))
        docs.write("much.md", page("much", 200))
        with pytest.raises(NoSpace, match="no space left"):
            docs.update(rebuild=rebuild)
    assert docs.rows() == before
    assert [path.name for path in docs.index.path.parent.iterdir()] == [docs.index.path.name]
    (docs.project.root / "docs/much.md").unlink()
    docs.update()
    assert docs.rows() != before
