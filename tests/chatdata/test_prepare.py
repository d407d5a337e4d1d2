"""prepare-data writes whole datasets, skips unchanged ones, and overwrites no one's work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.prepare import PrepareRequest, prepare_data
from modelyard.chatdata.prepared_result import PreparedData
from modelyard.chatdata.sources import RowOptions
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.core.progress import Silent
from modelyard.settings.cards import load_card
from small_disk import mounted_disk

ROWS: list[Any] = [
    {"prompt": f"How heavy is part {number}?", "completion": f"It weighs {number * 7} grams."}
    for number in range(60)
]


@pytest.fixture
def source(project: Project, write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl(project.root.parent / "rows.jsonl", ROWS)


@pytest.fixture
def prepare(project: Project) -> Callable[..., PreparedData]:
    def run(
        *sources: Path | str, dry_run: bool = False, out: str = "parts", **asked: Any
    ) -> PreparedData:
        rows = {key: asked.pop(key) for key in ("columns", "text_column", "strip") if key in asked}
        request = PrepareRequest(sources=sources, out=out, rows=RowOptions(**rows), **asked)
        return prepare_data(project, request, progress=Silent(), dry_run=dry_run)

    return run


Prepare = Callable[..., PreparedData]


def test_it_writes_a_dataset_that_loads(project: Project, prepare: Prepare, source: Path) -> None:
    done = prepare(source, org="techcorp", licence="CC-BY-4.0")
    loaded = load_dataset(project, "parts")
    assert (len(loaded.train), len(loaded.evaluation)) == (done.train_rows, done.evaluation_rows)
    assert done.train_rows + done.evaluation_rows == 60
    assert loaded.fingerprint == done.fingerprint
    assert loaded.org == "techcorp" and loaded.warnings == ()
    first = json.loads((project.dataset("parts") / "train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"]


def test_rows_that_may_not_leave_the_machine_stay_marked_in_later_runs(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    prepare(source, local_only=True)
    assert load_dataset(project, "parts").local_only
    assert prepare(source).unchanged
    write_jsonl(source, ROWS[:50])
    assert not prepare(source, force=True).unchanged
    assert load_dataset(project, "parts").local_only


def test_the_card_says_what_is_there_and_what_to_do_with_it(
    project: Project, prepare: Prepare, source: Path
) -> None:
    done = prepare(source)
    card = load_card(project.dataset("parts") / "DATASET.md")
    front = card.front.value
    assert front["name"] == "parts"
    assert front["rows"] == {"train": done.train_rows, "eval": done.evaluation_rows}
    assert front["fingerprint"] == done.fingerprint
    (origin,) = front["prepared_from"]
    assert (origin["rows"], origin["format"]) == (60, "prompt-completion")
    assert len(origin["sha256"]) == 64
    assert "models fine-tune --dataset parts" in card.body
    assert card.body.count("> **user:**") == 3


def test_running_it_again_changes_nothing(project: Project, prepare: Prepare, source: Path) -> None:
    first = prepare(source)
    files = {path: path.stat().st_mtime_ns for path in project.dataset("parts").iterdir()}
    again = prepare(source)
    assert again.unchanged and again.fingerprint == first.fingerprint
    assert (again.train_rows, again.evaluation_rows) == (first.train_rows, first.evaluation_rows)
    assert {path: path.stat().st_mtime_ns for path in project.dataset("parts").iterdir()} == files


def test_keys_that_nothing_reads_are_told_again_from_the_card(
    prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "id": 1}]
    write_jsonl(source, [{"messages": talk}, *({**row, "source_id": 7} for row in ROWS)])
    first, again = prepare(source), prepare(source)
    assert again.unchanged
    told = ["key `source_id`, in 60 rows", "message key `id`, in 1 row"]
    assert list(map(str, first.unused_keys)) == list(map(str, again.unused_keys)) == told


def test_a_grown_source_or_another_option_prepares_again_and_rows_keep_their_side(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    before = prepare(source)
    kept_back = {row.first_question for row in load_dataset(project, "parts").evaluation}
    more = [{"prompt": f"How long is part {n}?", "completion": "Long."} for n in range(60)]
    write_jsonl(source, [*more, *ROWS])
    after = prepare(source)
    assert not after.unchanged and after.fingerprint != before.fingerprint
    assert kept_back < {row.first_question for row in load_dataset(project, "parts").evaluation}
    assert not prepare(source, evaluation_share=0.3).unchanged
    assert prepare(source, evaluation_share=0.3).unchanged


def test_the_organisation_is_kept_when_it_is_not_named_again(
    project: Project, prepare: Prepare, source: Path
) -> None:
    prepare(source, org="techcorp")
    assert prepare(source).unchanged
    assert not prepare(source, org="other").unchanged


def test_a_dry_run_writes_nothing(project: Project, prepare: Prepare, source: Path) -> None:
    would = prepare(source, dry_run=True)
    assert would.train_rows + would.evaluation_rows == 60
    assert not project.datasets.exists() and not project.local_state.exists()
    assert prepare(source).fingerprint == would.fingerprint


def test_equal_rows_are_removed_and_near_ones_named(
    prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    near = [
        {"prompt": f"{opening} heavy is the big part with number {n}?", "completion": "Very."}
        for n in range(40)
        for opening in ("How", "So how")
    ]
    done = prepare(write_jsonl(source, [*ROWS, *ROWS[:5], *near]))
    assert done.removed_duplicates == 5
    assert done.near_duplicates
    assert str(done.near_duplicates[0]).startswith(f"{source}:")


def test_secrets_are_flagged_or_dropped(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    secret = {"prompt": "password=Tr0ub4dor&3 or a@b.org?", "completion": "Yes."}
    write_jsonl(source, [secret, *ROWS])
    done = prepare(source)
    assert [(found.kind, found.source) for found in done.flagged] == [
        ("e-mail address", f"{source}:1"),
        ("password", f"{source}:1"),
    ]
    card = (project.dataset("parts") / "DATASET.md").read_text()
    assert f"{source}:1 (message 1): password" in card
    assert "Tr0ub4dor" not in card
    dropped = prepare(source, drop_sensitive=True)
    assert (dropped.dropped_sensitive, dropped.flagged) == (1, ())
    assert dropped.train_rows + dropped.evaluation_rows == 60


def test_secrets_in_other_keys_are_flagged_or_dropped_too(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    secret = {**ROWS[0], "by": {"mail": ["a@b.org", "c@d.org"]}, "token": "Tr0ub4dor&3"}
    write_jsonl(source, [secret, *ROWS[1:]])
    done = prepare(source)
    assert list(map(str, done.flagged)) == [
        f"{source}:1 (key 'by'): e-mail address",
        f"{source}:1 (key 'token'): password",
    ]
    dropped = prepare(source, drop_sensitive=True)
    assert (dropped.dropped_sensitive, dropped.flagged) == (1, ())
    written = "".join(path.read_text() for path in project.dataset("parts").iterdir())
    assert "b.org" not in written and "Tr0ub4dor" not in written


def test_columns_that_no_template_names_are_not_written(
    project: Project, prepare: Prepare, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    lines = [f"Question {n}?,Answer {n}.,m{n}@example.org,Tr0ub4dor&{n}\n" for n in range(40)]
    table.write_text("question,answer,email,token\n" + "".join(lines))
    done = prepare(table, columns=ColumnMapping(prompt="{question}", answer="{answer}"))
    assert done.train_rows + done.evaluation_rows == 40 and done.flagged == ()
    told = ("left out, because no template names them: columns email, token",)
    assert done.notes == told
    again = prepare(table, columns=ColumnMapping(prompt="{question}", answer="{answer}"))
    assert again.unchanged and again.notes == told
    written = "".join(path.read_text() for path in project.dataset("parts").iterdir())
    assert "example.org" not in written and "Tr0ub4dor" not in written


def test_the_card_shows_control_characters_and_the_rows_keep_them(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    write_jsonl(source, [{"prompt": "\x1b[31mred?", "completion": "\x9b2JYes."}])
    prepare(source)
    card = (project.dataset("parts") / "DATASET.md").read_text()
    assert "\\x1b[31mred?" in card and "\\x9b2JYes." in card
    assert "\x1b" not in card and "\x9b" not in card
    assert load_dataset(project, "parts").train[0].answer == "\x9b2JYes."


def test_bad_rows_are_refused_all_at_once_or_left_out_and_listed(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    write_jsonl(source, [ROWS[0], "oops", *ROWS[1:], {"prompt": "no answer"}])
    with pytest.raises(
        ProblemsFound, match="2 problems in the sources; nothing was written"
    ) as bad:
        prepare(source)
    assert [problem.where for problem in bad.value.problems] == [f"{source}:2", f"{source}:62"]
    assert not project.datasets.exists()
    done = prepare(source, skip_bad_rows=True)
    assert len(done.bad_rows) == 2
    card = (project.dataset("parts") / "DATASET.md").read_text()
    assert f"- {source}:62: 'completion' is missing" in card


def where_every_row_is(done: PreparedData) -> int:
    return (
        done.train_rows
        + done.evaluation_rows
        + done.removed_duplicates
        + done.dropped_sensitive
        + done.bad_row_count
    )


def test_every_row_is_trained_evaluated_a_duplicate_or_left_out(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    chance = random.Random(0)
    two_faults = {"messages": [{"role": "usr", "content": "a"}, {"role": "bot", "content": ""}]}
    kinds: list[Any] = [two_faults, "oops", {"prompt": "mail a@b.org?", "completion": "Yes."}]
    rows = [chance.choice([*kinds, *ROWS]) for _ in range(300)]
    write_jsonl(source, [*rows, *kinds])
    for drop in (False, True):
        done = prepare(source, skip_bad_rows=True, drop_sensitive=drop)
        assert done.rows_read == 303 == where_every_row_is(done)
        assert done.bad_row_count < len(done.bad_rows)
        card = load_card(project.dataset("parts") / "DATASET.md")
        front = card.front.value
        assert front["rows_read"] == sum(front["rows"].values()) + sum(
            front[key] for key in ("removed_duplicates", "dropped_sensitive", "bad_rows")
        )
        assert front["rows_read"] == front["prepared_from"][0]["rows"] + front["bad_rows"]
        assert done.sum_of_rows in card.body
        assert f"{done.bad_row_count:,} left out (not valid)" in done.sum_of_rows


def test_a_file_that_is_no_table_at_all_is_not_left_out_as_a_row(
    prepare: Prepare, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("prompt,completion\n")
    with pytest.raises(ProblemsFound) as caught:
        prepare(source, tmp_path / "empty.csv", skip_bad_rows=True)
    assert [problem.message for problem in caught.value.problems] == ["is empty"]
    assert "leave out the file" in str(caught.value.hint)


def test_a_row_kept_for_evaluation_is_not_trained_on_later(
    project: Project, prepare: Prepare, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    lines = [f"Part {n},What is the weight of part {n}?,It is {n}.\n" for n in range(80)]
    table.write_text("title,question,answer\n" + "".join(lines))
    first = ColumnMapping(prompt="{title}", answer="{answer}")
    prepare(table, columns=first, evaluation_share=0.3)
    before = (project.dataset("parts") / "eval.jsonl").read_bytes()
    with pytest.raises(InvalidInput, match=r"would train on \d+ rows that the last run") as caught:
        prepare(table, columns=first, evaluation_share=0.1)
    assert "the last run had --eval-share 0.3: repeat that" in str(caught.value.hint)
    other = ColumnMapping(prompt="{title}: {question}", answer="{answer}")
    with pytest.raises(InvalidInput, match="that the last run kept for evaluation") as caught:
        prepare(table, columns=other, evaluation_share=0.3)
    assert "--prompt '{title}'" in str(caught.value.hint)
    with pytest.raises(InvalidInput, match="that the last run kept for evaluation"):
        prepare(table, columns=other, evaluation_share=0.3, dry_run=True)
    assert (project.dataset("parts") / "eval.jsonl").read_bytes() == before
    assert not prepare(table, columns=first, evaluation_share=0.4).unchanged
    assert not prepare(table, columns=other, evaluation_share=0.1, force=True).unchanged


def test_whitespace_is_kept_unless_it_is_to_be_stripped(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    code = [
        {"prompt": f"def f{n}(x):\n", "completion": f"    return x * {n}\r\n"} for n in range(40)
    ]
    write_jsonl(source, [*code, *ROWS[:5]])
    done = prepare(source)
    assert load_dataset(project, "parts").train[0].answer.startswith("    return x")
    assert [note.partition(" with ")[0] for note in done.notes] == ["40 rows", "40 rows"]
    stripped = prepare(source, strip=True)
    assert (stripped.stripped_rows, stripped.notes) == (40, ())
    row = load_dataset(project, "parts").train[0]
    assert (row.first_question[-1], row.answer[:6]) == (":", "return")
    card = load_card(project.dataset("parts") / "DATASET.md")
    assert "Whitespace around texts was removed in 40 rows." in card.body
    assert prepare(source, strip=True).stripped_rows == 40


def test_plain_texts_are_a_dataset_of_their_own(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    write_jsonl(source, [{"story": f"Once {n} birds sang.", "id": n} for n in range(40)])
    done = prepare(source, text_column="story")
    assert done.train_rows + done.evaluation_rows == 40
    loaded = load_dataset(project, "parts")
    assert loaded.fingerprint == done.fingerprint and loaded.train[0].is_plain_text
    assert loaded.warnings == ()
    assert prepare(source, text_column="story").unchanged
    with pytest.raises(InvalidInput, match="--text-column makes plain texts"):
        prepare(source, text_column="story", columns=ColumnMapping(prompt="{id}", label="story"))


def test_sources_may_be_folders_and_tables(
    project: Project, prepare: Prepare, tmp_path: Path
) -> None:
    folder = tmp_path / "tables" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("text,team\nprinter on fire,hardware\nno login,accounts\n")
    (folder.parent / "b.tsv").write_text("text\tteam\nlost phone\thardware\n")
    (folder / "notes.txt").write_text("not for reading")
    (folder / ".hidden.csv").write_text("not for reading")
    columns = ColumnMapping(prompt="{text}", label="team")
    done = prepare(folder.parent, columns=columns)
    assert done.train_rows + done.evaluation_rows == 3
    labels = {row.fields["label"] for row in load_dataset(project, "parts").train}
    assert labels <= {"hardware", "accounts"}


def test_missing_sources_are_named_all_at_once(prepare: Prepare, source: Path) -> None:
    empty = source.parent / "empty"
    empty.mkdir()
    with pytest.raises(ProblemsFound) as caught:
        prepare(source.parent / "row.jsonl", empty, source)
    first, second = map(str, caught.value.problems)
    assert first.endswith("there is no such file or folder (did you mean 'rows.jsonl'?)")
    assert "holds no file to read (.jsonl" in second


def test_files_made_by_hand_are_not_overwritten(
    project: Project, prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    write_jsonl(project.dataset("parts") / "train.jsonl", ROWS[:3])
    with pytest.raises(InvalidInput, match="which prepare-data did not write"):
        prepare(source)
    assert len(load_dataset(project, "parts").train) <= 3
    prepare(source, force=True)
    with (project.dataset("parts") / "eval.jsonl").open("a") as stream:
        stream.write(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(InvalidInput, match=r"eval.jsonl changed since prepare-data wrote them"):
        prepare(source)


def test_other_sources_do_not_replace_a_dataset_by_accident(
    prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    prepare(source)
    other = write_jsonl(source.with_name("other.jsonl"), ROWS[:9])
    with pytest.raises(InvalidInput, match=r"prepared from other sources: .*rows.jsonl") as caught:
        prepare(other)
    assert "--force" in str(caught.value.hint)
    assert not prepare(source, other).unchanged
    assert prepare(other, force=True).train_rows < 10


def test_other_files_in_the_folder_are_left_alone(
    project: Project, prepare: Prepare, source: Path
) -> None:
    notes = project.dataset("parts") / "facts.yaml"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    prepare(source)
    assert notes.read_text() == "mine"
    assert sorted(path.name for path in notes.parent.iterdir()) == [
        "DATASET.md",
        "eval.jsonl",
        "facts.yaml",
        "train.jsonl",
    ]


def test_a_dataset_is_no_source_of_itself(project: Project, prepare: Prepare, source: Path) -> None:
    prepare(source)
    with pytest.raises(ProblemsFound) as caught:
        prepare(project.dataset("parts"))
    assert "is a file of the dataset itself" in str(caught.value.problems[0])


@pytest.mark.parametrize("out", ["parts", "datasets/parts", "datasets/parts/"])
def test_out_is_a_name_in_the_project(
    project: Project, prepare: Prepare, source: Path, out: str
) -> None:
    assert prepare(source, out=out).folder == "datasets/parts"


def test_out_may_be_a_folder_elsewhere(project: Project, prepare: Prepare, source: Path) -> None:
    done = prepare(source, out=str(source.parent / "elsewhere"))
    assert load_dataset(project, done.folder).fingerprint == done.fingerprint


@pytest.mark.parametrize("out", ["..", "Parts!", "", "datasets/../../x y"])
def test_out_must_be_a_name(prepare: Prepare, source: Path, out: str) -> None:
    with pytest.raises(InvalidInput, match="not a valid dataset name"):
        prepare(source, out=out)


def test_without_evaluation_rows_a_dataset_is_read_as_it_was_written(
    project: Project, prepare: Prepare, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(20)]
    done = prepare(write_jsonl(Path("rows.jsonl"), rows), evaluation_share=0)
    assert (done.train_rows, done.evaluation_rows) == (20, 0)
    loaded = load_dataset(project, "parts")
    assert (len(loaded.train), len(loaded.evaluation)) == (20, 0)
    assert loaded.warnings == ("there are no evaluation rows, so nothing can be evaluated",)


def test_keys_beside_a_plain_text_are_named(
    prepare: Prepare, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"text": "plain words here", "weight": 0, "rejected": "x", "note": ""}]
    done = prepare(write_jsonl(Path("rows.jsonl"), rows), text_column="text")
    assert done.notes == ("left out, because no template names them: columns weight, rejected",)


@pytest.mark.parametrize("share", [1, -0.1, 7, float("nan")])
def test_the_share_must_be_a_share(prepare: Prepare, source: Path, share: float) -> None:
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        prepare(source, evaluation_share=share)


def test_nothing_to_write_is_an_error(
    prepare: Prepare, source: Path, write_jsonl: Callable[..., Path]
) -> None:
    with pytest.raises(ProblemsFound, match="no row is left"):
        prepare(write_jsonl(source, ["oops"]), skip_bad_rows=True)


def test_a_second_one_says_who_is_at_it(project: Project, prepare: Prepare, source: Path) -> None:
    held = exclusive_lock(project.lock("dataset", "parts"), what="dataset parts")
    with held, pytest.raises(LockHeld, match=f"dataset parts is in use by process {os.getpid()}"):
        prepare(source)


def test_the_same_command_completes_what_was_interrupted(
    project: Project, prepare: Prepare, source: Path
) -> None:
    whole = prepare(source)
    card, evaluation = (project.dataset("parts") / name for name in ("DATASET.md", "eval.jsonl"))
    card.write_text(card.read_text().replace("---\n", "---\nunfinished: true\n", 1))
    evaluation.unlink()
    with pytest.raises(InvalidInput, match="was interrupted"):
        load_dataset(project, "parts")
    assert not prepare(source).unchanged
    assert load_dataset(project, "parts").fingerprint == whole.fingerprint


PREPARE_IN_TURNS = """
import itertools, sys
from pathlib import Path
from modelyard.chatdata.prepare import prepare_data
from modelyard.chatdata.prepare import PrepareRequest
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

for name in itertools.cycle(("one", "two")):
    source = Path(sys.argv[1]) / f"{name}.jsonl"
    request = PrepareRequest(sources=(source,), out="parts", force=True)
    prepare_data(Project(Path(sys.argv[2])), request, progress=Silent())
    print(name, flush=True)
"""


def test_a_reader_never_takes_a_mixture_and_a_killed_run_is_completed_by_the_next(
    project: Project, tmp_path: Path, write_jsonl: Callable[..., Path], prepare: Prepare
) -> None:
    for name in ("one", "two"):
        rows = [{**row, "completion": name} for row in ROWS]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    chance = random.Random(0)
    taken = refused = 0
    for _ in range(4):
        command = [sys.executable, "-c", PREPARE_IN_TURNS, str(tmp_path), str(project.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout and writer.stdout.readline()
            stop_at = time.monotonic() + chance.uniform(0.2, 0.5)
            while time.monotonic() < stop_at:
                try:
                    loaded = load_dataset(project, "parts")
                except InvalidInput as error:
                    assert "prepare-data" in error.message
                    refused += 1
                else:
                    assert len({row.answer for row in loaded.train + loaded.evaluation}) == 1
                    taken += 1
            writer.send_signal(signal.SIGKILL)
        whole = prepare(tmp_path / "one.jsonl", force=True)
        assert load_dataset(project, "parts").fingerprint == whole.fingerprint
        assert not list(project.dataset("parts").glob(".staging-*"))
    assert taken and refused


@pytest.mark.parametrize("size", ["32k", "112k"])  # less than the first file, and than all
def test_what_a_full_disk_cuts_off_leaves_nothing_behind(
    prepare: Prepare, tmp_path: Path, write_jsonl: Callable[..., Path], size: str
) -> None:
    rows = [
        {**row, "completion": f"{at} grams. {'Weighed. ' * 200}"} for at, row in enumerate(ROWS)
    ]
    source = write_jsonl(tmp_path / "long.jsonl", rows)
    with mounted_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(NoSpace):
            prepare(source, out=str(disk / "parts"))
        assert list(disk.rglob(".staging-*")) == []


@pytest.mark.parametrize(
    "columns",
    [{"prompt": "question", "answer": "{answer}"}, {"prompt": "{question}", "answer": "answer"}],
)
def test_a_template_that_names_no_column_is_refused(columns: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="names no column") as refused:
        ColumnMapping(**columns)
    assert "{question}" in str(refused.value.hint) or "{answer}" in str(refused.value.hint)
