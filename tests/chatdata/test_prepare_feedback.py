"""Feedback becomes a dataset that grows, and no row of it is ever in two."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from killed import interruptions
from modelyard.chatdata import prepared_folder
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.feedback import Feedback, list_feedback, record_feedback
from modelyard.chatdata.prepare import PrepareRequest, prepare_data
from modelyard.chatdata.prepared_result import PreparedData
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.core.state import open_state
from modelyard.settings.cards import load_card

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
Prepare = Callable[..., PreparedData]


@pytest.fixture
def prepare(project: Project) -> Prepare:
    def run(
        out: str = "corrections", *, dry_run: bool = False, wait_s: float = 0, **asked: Any
    ) -> PreparedData:
        request = PrepareRequest(**({"sources": (), "out": out, "from_feedback": True} | asked))
        return prepare_data(project, request, progress=Silent(), dry_run=dry_run, wait_s=wait_s)

    return run


def record(project: Project, first: int, last: int, **more: Any) -> None:
    rows = [
        Feedback(prompt=f"How heavy is part {n}?", answer="Heavy.", correction=f"{n} g.", **more)
        for n in range(first, last + 1)
    ]
    record_feedback(project, rows)


def rows_of(project: Project, dataset: str) -> list[dict[str, Any]]:
    files = sorted(project.dataset(dataset).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def ids_of(project: Project, dataset: str) -> list[int]:
    return sorted(row["feedback"] for row in rows_of(project, dataset))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_feedback_becomes_a_dataset_that_says_where_it_came_from(
    project: Project, prepare: Prepare
) -> None:
    record(project, 1, 40, org="acme")
    done = prepare(org="acme")
    loaded = load_dataset(project, "corrections")
    assert loaded.org == "acme" and loaded.warnings == ()
    assert loaded.fingerprint == done.fingerprint
    assert done.train_rows + done.evaluation_rows == 40 and done.evaluation_rows
    card = load_card(project.dataset("corrections") / "DATASET.md")
    (origin,) = card.front.value["prepared_from"]
    assert (origin["path"], origin["rows"]) == ("feedback", 40)
    assert (origin["first_id"], origin["last_id"]) == (1, 40)
    assert "recorded feedback of organisation acme (40 rows, ids 1 to 40)" in card.body
    assert {row.used_in for row in list_feedback(project)} == {"corrections"}


def test_the_correction_is_trained_else_the_good_answer_oldest_first(
    project: Project, prepare: Prepare
) -> None:
    record_feedback(
        project,
        [
            Feedback(prompt="One?", answer="a", rating="good"),
            Feedback(prompt="Two?", answer="a", rating="bad"),
            Feedback(prompt="Three?", answer="a", rating="bad", correction="b"),
            Feedback(prompt="Four?", answer="a"),
            Feedback(prompt="Five?", answer="a", rating="good", org="acme"),
        ],
    )
    prepare(evaluation_share=0.0001)
    trained = [
        (row["feedback"], row["messages"][1]["content"]) for row in rows_of(project, "corrections")
    ]
    assert trained == [(1, "a"), (3, "b")]
    assert [row.id for row in list_feedback(project, unused=True)] == [2, 4, 5]


def test_the_dataset_grows_and_rows_keep_their_side(project: Project, prepare: Prepare) -> None:
    record(project, 1, 40)
    prepare()
    evaluated = {row.first_question for row in load_dataset(project, "corrections").evaluation}
    record(project, 41, 60)
    grown = prepare()
    assert grown.feedback and (grown.feedback.rows, grown.feedback.new_rows) == (60, 20)
    assert ids_of(project, "corrections") == list(range(1, 61))
    assert evaluated <= {
        row.first_question for row in load_dataset(project, "corrections").evaluation
    }


def test_without_new_feedback_nothing_changes(project: Project, prepare: Prepare) -> None:
    record(project, 1, 20)
    first = prepare()
    record_feedback(project, [Feedback(prompt="Bad?", answer="Yes.", rating="bad")])
    record(project, 1, 5, org="acme")
    before = {path: path.stat().st_mtime_ns for path in project.dataset("corrections").iterdir()}
    again = prepare()
    assert again.unchanged and again.fingerprint == first.fingerprint
    assert again.feedback and again.feedback.new_rows == 0
    assert {
        path: path.stat().st_mtime_ns for path in project.dataset("corrections").iterdir()
    } == before
    assert not prepare(evaluation_share=0.4).unchanged


def test_another_dataset_takes_only_what_is_unused(project: Project, prepare: Prepare) -> None:
    record(project, 1, 10)
    prepare("one")
    with pytest.raises(NoData, match="10 used in dataset 'one'"):
        prepare("two")
    assert not project.dataset("two").exists()
    record(project, 11, 14)
    prepare("two")
    record(project, 15, 16)
    prepare("one")
    assert ids_of(project, "one") == [*range(1, 11), 15, 16]
    assert ids_of(project, "two") == [11, 12, 13, 14]


def test_equal_corrections_are_written_once_and_belong_to_the_dataset(
    project: Project, prepare: Prepare
) -> None:
    record(project, 1, 5)
    record(project, 1, 5, adapter="parts@1")
    done = prepare()
    assert (done.removed_duplicates, ids_of(project, "corrections")) == (5, [1, 2, 3, 4, 5])
    assert list_feedback(project, unused=True) == ()
    assert prepare().unchanged


def test_a_deleted_dataset_is_rebuilt_from_its_rows(project: Project, prepare: Prepare) -> None:
    record(project, 1, 10)
    first = prepare()
    shutil.rmtree(project.dataset("corrections"))
    assert prepare().fingerprint == first.fingerprint


def test_secrets_in_feedback_are_flagged_or_dropped(project: Project, prepare: Prepare) -> None:
    record(project, 1, 10)
    record_feedback(project, [Feedback(prompt="Mail?", answer="x", correction="ann@example.org")])
    assert [str(found) for found in prepare().flagged] == [
        "feedback:11 (message 2): e-mail address"
    ]
    dropped = prepare(drop_sensitive=True)
    assert dropped.dropped_sensitive == 1 and ids_of(project, "corrections") == list(range(1, 11))
    assert prepare(drop_sensitive=True).unchanged


def test_a_dry_run_changes_nothing(project: Project, prepare: Prepare) -> None:
    with pytest.raises(NoData):
        prepare(dry_run=True)
    assert not project.local_state.exists()
    record(project, 1, 10)
    would = prepare(dry_run=True)
    assert not project.datasets.exists() and len(list_feedback(project, unused=True)) == 10
    assert not (project.local_state / "locks" / "feedback-of-none.lock").exists()
    assert prepare().fingerprint == would.fingerprint


def test_organisations_are_kept_apart(project: Project, prepare: Prepare) -> None:
    record(project, 1, 6, org="acme")
    record(project, 1, 6, org="other")
    prepare("one", org="acme")
    assert ids_of(project, "one") == [1, 2, 3, 4, 5, 6]
    for org in ("other", None):
        with pytest.raises(InvalidInput, match="belongs to organisation 'acme'"):
            prepare("one", org=org)
        with pytest.raises(InvalidInput, match="belongs to organisation 'acme'"):
            prepare("one", org=org, force=True)
    shutil.rmtree(project.dataset("one"))
    with pytest.raises(InvalidInput, match="holds feedback of organisation acme"):
        prepare("one", org="other", force=True)
    with pytest.raises(InvalidInput, match="not a valid organisation name"):
        prepare("one", org="../acme")


def test_files_and_feedback_do_not_mix(
    project: Project, prepare: Prepare, write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a?", "completion": "b"}])
    record(project, 1, 3)
    with pytest.raises(InvalidInput, match="not from both"):
        prepare(sources=(source,))
    with pytest.raises(InvalidInput, match="nothing was named to prepare"):
        prepare(from_feedback=False)
    prepare("files", sources=(source,), from_feedback=False)
    with pytest.raises(InvalidInput, match=r"was prepared from other sources: .*rows.jsonl"):
        prepare("files")
    prepare("corrections")
    with pytest.raises(InvalidInput, match="was prepared from other sources: feedback"):
        prepare("corrections", sources=(source,), from_feedback=False)
    assert list_feedback(project, unused=True) == ()


def test_feedback_goes_only_into_datasets_of_the_project(
    project: Project, prepare: Prepare, tmp_path: Path
) -> None:
    record(project, 1, 3)
    with pytest.raises(InvalidInput, match="no dataset of this project"):
        prepare(str(tmp_path / "elsewhere"))
    project.dataset("real").mkdir(parents=True)
    project.dataset("alias").symlink_to("real")
    with pytest.raises(InvalidInput, match="no dataset of this project"):
        prepare("alias")
    prepare(str(project.dataset("real")))
    assert {row.used_in for row in list_feedback(project)} == {"real"}


def test_rows_that_the_state_no_longer_knows_are_not_overwritten(
    project: Project, prepare: Prepare
) -> None:
    record(project, 1, 10)
    prepare()
    before = contents(project.dataset("corrections"))
    for file in project.local_state.glob("state.db*"):
        file.unlink()
    record(project, 50, 70)
    with pytest.raises(InvalidInput, match="feedback that is no longer in the project's state"):
        prepare()
    assert contents(project.dataset("corrections")) == before
    assert len(list_feedback(project, unused=True)) == 21
    prepare(force=True)
    assert len(ids_of(project, "corrections")) == 21


def test_rows_that_an_older_state_calls_unused_are_claimed_again(
    project: Project, prepare: Prepare
) -> None:
    record(project, 1, 10)
    prepare()
    with open_state(project) as state:
        state.execute("UPDATE feedback SET used_in = NULL")
    assert prepare(dry_run=True).unchanged and len(list_feedback(project, unused=True)) == 10
    assert prepare().unchanged
    assert list_feedback(project, unused=True) == ()


def test_a_second_one_says_who_is_at_it(project: Project, prepare: Prepare) -> None:
    record(project, 1, 3, org="acme")
    record(project, 1, 3, org="other")
    held = exclusive_lock(project.lock("feedback-of", "acme"), what="feedback")
    with held:
        with pytest.raises(LockHeld, match=f"feedback of organisation acme .* {os.getpid()}"):
            prepare("one", org="acme")
        assert prepare("two", org="other").train_rows


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("already", [0, 6], ids=["a new dataset", "a dataset that grows"])
def test_cut_off_at_any_call_and_done_again_it_ends_with_the_same_bytes(
    project: Project,
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: Literal["kill", "fail"],
    already: int,
) -> None:
    monkeypatch.setattr(prepared_folder, "utc_now", lambda: "2026-01-01T00:00:00Z")
    folder = project.dataset("corrections")
    if already:
        record(project, 1, already)
        prepare()
        shutil.copytree(folder, tmp_path / "before")
    before = contents(folder) if already else {}
    record(project, already + 1, 14)
    prepare()
    whole = contents(folder)

    def put_back() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if already:
            shutil.copytree(tmp_path / "before", folder)
        with open_state(project) as state:
            state.execute("UPDATE feedback SET used_in = NULL WHERE id > ?", (already,))

    put_back()
    claimed_unwritten = 0
    for number in interruptions(prepare, how):
        claimed = [row.id for row in list_feedback(project) if row.used_in]
        assert claimed in (list(range(1, already + 1)), list(range(1, 15))), number
        try:
            found = ids_of(project, "corrections") if load_dataset(project, "corrections") else []
        except InvalidInput:
            found = []  # not there yet, or said to be unfinished
        assert set(found) <= set(claimed), number
        claimed_unwritten += len(claimed) > len(found)
        if number % 2 and len(claimed) == 14:
            with pytest.raises(NoData, match="14 used in dataset 'corrections'"):
                prepare("another")
        prepare()
        assert contents(folder) == whole, number
        put_back()
        assert not already or contents(folder) == before
    print(f"{claimed_unwritten} times rows waited for files")
    assert number > 30 and claimed_unwritten


def test_cut_off_at_any_call_another_dataset_never_shares_a_row(
    project: Project, prepare: Prepare
) -> None:
    record(project, 1, 12)
    taken_by = {"corrections": 0, "another": 0}
    for number in interruptions(prepare, "kill"):
        for name in ("another", "corrections"):
            try:
                prepare(name)
            except NoData:
                continue
            taken_by[name] += 1
            assert ids_of(project, name) == list(range(1, 13)), number
        assert sum(project.dataset(name).exists() for name in taken_by) == 1, number
        for name in taken_by:
            shutil.rmtree(project.dataset(name), ignore_errors=True)
        with open_state(project) as state:
            state.execute("UPDATE feedback SET used_in = NULL")
    print(f"rows taken by: {taken_by}")
    assert all(taken_by.values())


PREPARE_OVER_AND_OVER = """
import sys
from pathlib import Path
from modelyard.chatdata.prepare import prepare_data
from modelyard.chatdata.prepare import PrepareRequest
from modelyard.core.errors import NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    for out in sys.argv[2].split():
        request = PrepareRequest(sources=(), out=out, from_feedback=True)
        try:
            prepare_data(Project(Path(sys.argv[1])), request, progress=Silent(), wait_s=60)
        except NoData:
            pass
"""


def start_preparing(project: Project, out: str, times: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PREPARE_OVER_AND_OVER, str(project.root), out, str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def assert_each_row_is_in_the_dataset_that_it_belongs_to(project: Project, names: list[str]) -> int:
    owner = {row.id: row.used_in for row in list_feedback(project) if row.used_in}
    held = {name: ids_of(project, name) for name in names if project.dataset(name).exists()}
    assert {id: name for name, ids in held.items() for id in ids} == owner
    assert sum(map(len, held.values())) == len(owner)
    return len(owner)


def test_several_at_once_never_share_a_row(project: Project) -> None:
    names = ["a", "b", "c", "d"]
    record(project, 1, 10)
    processes = [start_preparing(project, name, 10 * SOAK) for name in names]
    rows = 10
    while any(process.poll() is None for process in processes):
        record(project, rows + 1, rows + 3)
        rows += 3
        time.sleep(0.02)
    for process in processes:
        assert process.wait() == 0
        assert process.stdout
        process.stdout.close()
    used = assert_each_row_is_in_the_dataset_that_it_belongs_to(project, names)
    print(f"4 processes prepared {40 * SOAK} times; {used} of {rows} rows used, none of them twice")
    assert used > 10


def test_killed_at_random_moments_no_row_is_lost_or_shared(
    project: Project, prepare: Prepare
) -> None:
    chance = random.Random(1)
    names = ["a", "b"]
    rows = kills = 0
    for _ in range(5 * SOAK):
        record(project, rows + 1, rows + 30)
        rows += 30
        chance.shuffle(names)
        process = start_preparing(project, " ".join(names), 1)
        assert process.stdout and process.stdout.readline()
        time.sleep(chance.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    for name in sorted(names):
        try:
            prepare(name)
        except NoData as error:
            assert isinstance(error, ModelyardError)
    used = assert_each_row_is_in_the_dataset_that_it_belongs_to(project, names)
    print(f"{kills} of {5 * SOAK} processes killed in their work; {used} of {rows} rows used")
    assert used == rows and kills
