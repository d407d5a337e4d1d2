"""`models update-embeddings` as processes: killed, interrupted, and two at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from serial_trees import content_of, make_serial_docs, tree, write_tree

from index_projects import Docs, all_chunks
from killed import SOAK, fork
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.indexes import load_indexes
from tiny_encoders import write_encoder
from toy_encoder import ToyEncoder

KILLS = 3 * SOAK
CONFIG = """
description: For tests
encoder: {{source: path, model: {folder}, dimensions: 32, max_tokens: 48}}
domains:
  docs: {{description: Documents, sources: ["docs/**/*.md"], chunker: markdown, chunk_tokens: 48}}
"""
UPDATE = ("update-embeddings", "--domain", "docs")
SEARCH = ("search", "what does file f05 say", "--domain", "docs", "--top", "30", "--json")


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    """A project whose encoder is real and tiny."""
    made = make_serial_docs(tmp_path / "project", 0)
    folder = write_encoder(tmp_path / "encoder")
    made.write("../configs/embedding_models/texts.yaml", CONFIG.format(folder=folder))
    made.index = load_indexes(made.project)["texts/docs"]
    return made


def start(docs: Docs, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard", *words],
        cwd=docs.project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr and "a bug in modelyard" not in stderr, stderr
    return process.returncode, stdout, stderr


def is_at_lock(process: subprocess.Popen[str]) -> bool:
    """Whether a process has opened the lock of an index, which it then waits for or holds."""
    for opened in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            if ".models/locks/search-" in str(opened.readlink()):
                return True
    return False


def run(docs: Docs, *words: str) -> str:
    """A command that must end well; what it printed."""
    code, stdout, stderr = finish(start(docs, *words))
    assert code == 0, stderr
    return stdout


def states_that_say(results: Sequence[dict[str, Any]], states: range) -> set[int]:
    """The states of the files in which every result stands where it says it stands."""
    return {state for state in states if all(_stands(result, tree(state)) for result in results)}


def _stands(result: dict[str, Any], files: dict[str, str]) -> bool:
    lines = files.get(result["path"], "").split("\n")
    if result["last_line"] > len(lines):
        return False
    there = "\n".join(lines[result["first_line"] - 1 : result["last_line"]])
    return all(line in there for line in result["text"].split("\n"))


def test_the_command_killed_at_random_moments_is_completed_by_the_next(docs: Docs) -> None:
    """Of its whole life, imports included; after each kill a search process answers."""
    chance = random.Random(11)
    run(docs, *UPDATE)
    began = time.monotonic()
    run(docs, *UPDATE, "--rebuild")
    whole_s = time.monotonic() - began
    killed = serial = 0
    while killed < KILLS:
        serial += 1
        write_tree(docs, serial)
        process = start(docs, *UPDATE, *(["--rebuild"] if serial % 2 else []))
        time.sleep(chance.uniform(0.2, 1.0) * whole_s)
        process.kill()
        finish(process)
        killed += process.returncode == -signal.SIGKILL
        found = json.loads(run(docs, *SEARCH))
        assert len(found["results"]) >= 10
        assert states_that_say(found["results"], range(serial + 1))
        if serial % 3 == 0:
            run(docs, *UPDATE)
            found = json.loads(run(docs, *SEARCH))
            assert serial in states_that_say(found["results"], range(serial + 1))
    run(docs, *UPDATE)
    updated = docs.rows()
    run(docs, *UPDATE, "--rebuild")
    assert docs.rows() == updated
    print(f"killed {killed} of {serial} commands before their end")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)]
)
def test_an_interrupted_command_leaves_the_old_index_and_says_so(
    docs: Docs, number: signal.Signals
) -> None:
    run(docs, *UPDATE)
    with open_index(docs.index.path) as reader:
        before = content_of(all_chunks(reader))
    for part in range(60):
        docs.write(f"many/{part}.md", f"# Many {part}\n\n" + "Quite other words.\n\n" * 60)
    process = start(docs, *UPDATE, "--rebuild")
    while not list(docs.index.path.parent.glob(".staging-*")):
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.005)
    process.send_signal(number)
    code, _, stderr = finish(process)
    assert (code, stderr.splitlines()[-1]) == (130, "interrupted")
    assert [path.name for path in docs.index.path.parent.iterdir()] == [docs.index.path.name]
    with open_index(docs.index.path) as reader:
        assert content_of(all_chunks(reader)) == before
    run(docs, *UPDATE)
    with open_index(docs.index.path) as reader:
        assert "docs/many/7.md" in [file.path for file in reader.files()]


class HeldEncoder(ToyEncoder):
    """Says that it was asked, and answers when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def encode(self, texts: Sequence[str], **more: Any) -> npt.NDArray[np.float32]:
        (self._folder / "asked").touch()
        while not (self._folder / "go-on").exists():
            time.sleep(0.01)
        return super().encode(texts, **more)


@pytest.fixture
def held(docs: Docs, tmp_path: Path) -> int:
    """A process in the middle of an update of the index, until `go-on` exists."""
    docs.encoders.encoder = HeldEncoder(tmp_path)
    child = fork(docs.update)
    while not (tmp_path / "asked").exists():
        time.sleep(0.01)
    return child


def test_a_second_update_that_may_not_wait_says_who_is_at_it_and_since_when(
    docs: Docs, held: int, tmp_path: Path
) -> None:
    code, stdout, stderr = finish(start(docs, *UPDATE, "--wait", "0"))
    assert (code, stdout) == (1, "")
    assert f"the index texts/docs is in use by process {held} since 2" in stderr
    assert "--wait SECONDS" in stderr and "wait, for" not in stderr
    code, _, stderr = finish(start(docs, *UPDATE, "--wait", "0.5"))
    assert code == 1 and "error: the index texts/docs is in use by process" in stderr
    (tmp_path / "go-on").touch()
    assert os.waitpid(held, 0)[1] == 0


def test_a_second_update_waits_by_itself_and_says_so_once(
    docs: Docs, held: int, tmp_path: Path
) -> None:
    waiting = [start(docs, *UPDATE) for _ in range(2)]
    for process in waiting:
        while not is_at_lock(process):
            assert process.poll() is None
            time.sleep(0.01)
    (tmp_path / "go-on").touch()
    assert os.waitpid(held, 0)[1] == 0
    said = [finish(item) for item in waiting]
    assert [code for code, _, _ in said] == [0, 0], said
    built = sorted("rebuilt (another encoder)" in stdout for _, stdout, _ in said)
    assert built == [False, True], "each did the work of the other again"
    for _, _, stderr in said:
        assert stderr.count("wait, for 600 s at most: the index texts/docs is in use by") == 1


def test_a_killed_holder_keeps_nobody_waiting(docs: Docs, held: int) -> None:
    os.kill(held, signal.SIGKILL)
    os.waitpid(held, 0)
    assert "rebuilt" in run(docs, *UPDATE)


def test_updates_of_two_indexes_run_at_once(docs: Docs, held: int, tmp_path: Path) -> None:
    config = docs.project.configs / "embedding_models/texts.yaml"
    config.write_text(
        config.read_text()
        + "  more: {description: More, sources: ['more/*.md'], chunker: markdown}\n"
    )
    docs.write("../more/one.md", "# One\n\nAnother index.\n")
    assert "1 file" in run(docs, "update-embeddings", "--domain", "more")
    (tmp_path / "go-on").touch()
    assert os.waitpid(held, 0)[1] == 0
