"""What `--dataset` accepts, and the errors for what it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.chatdata.dataset import load_dataset
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project

Write = Callable[[Path, list[Any]], Path]


def row(question: str, answer: str = "Yes.", **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **fields}


ROWS = [row(f"Question {number}?") for number in range(200)]


def test_a_name_is_a_folder_with_train_and_eval(project: Project, write_jsonl: Write) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", ROWS[:5])
    write_jsonl(folder / "eval.jsonl", ROWS[5:8])
    loaded = load_dataset(project, "support")
    assert (loaded.name, loaded.path) == ("support", folder)
    assert (len(loaded.train), len(loaded.evaluation)) == (5, 3)
    assert loaded.train[1].source == "datasets/support/train.jsonl:2"
    assert loaded.org is None and loaded.warnings == ()


@pytest.mark.parametrize("named", ["support", "datasets/support", "datasets/support/train.jsonl"])
def test_rows_that_may_not_leave_the_machine_are_marked_however_they_are_named(
    project: Project, write_jsonl: Write, named: str
) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", ROWS[:5])
    assert not load_dataset(project, named).local_only
    (folder / "DATASET.md").write_text("---\nlocal_only: true\n---\n\n# support\n")
    assert load_dataset(project, named).local_only


def test_a_mark_that_is_neither_true_nor_false_lets_no_row_out(
    project: Project, write_jsonl: Write
) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", ROWS[:5])
    (folder / "DATASET.md").write_text("---\nlocal_only: certainly\n---\n")
    with pytest.raises(InvalidInput, match="'local_only' is 'certainly', and not true or false"):
        load_dataset(project, "support")


def test_without_eval_a_tenth_is_kept_back_always_the_same_rows(
    project: Project, write_jsonl: Write
) -> None:
    train = project.dataset("support") / "train.jsonl"
    write_jsonl(train, ROWS[:100])
    before = load_dataset(project, "support")
    assert len(before.train) + len(before.evaluation) == 100
    assert 3 <= len(before.evaluation) <= 20
    write_jsonl(train, [*ROWS[150:], *ROWS[:100]])
    after = load_dataset(project, "support")
    kept = {row.first_question for row in after.evaluation}
    assert {row.first_question for row in before.evaluation} <= kept


def test_a_path_may_lie_anywhere_and_be_of_any_format(
    project: Project, tmp_path: Path, write_jsonl: Write
) -> None:
    outside = tmp_path / "elsewhere" / "My Rows (2).json"
    outside.parent.mkdir()
    outside.write_text(json.dumps(ROWS))
    loaded = load_dataset(project, str(outside))
    assert loaded.name == "my-rows-2"
    assert len(loaded.train) + len(loaded.evaluation) == 200
    write_jsonl(tmp_path / "elsewhere" / "train.jsonl", ROWS)
    assert load_dataset(project, str(outside.parent)).name == "elsewhere"
    write_jsonl(project.root / "rows.jsonl", ROWS)
    assert load_dataset(project, "rows.jsonl").train[0].source == "rows.jsonl:1"


def test_a_single_row_is_for_training(project: Project, write_jsonl: Write) -> None:
    for only_row in ROWS[:40]:
        loaded = load_dataset(project, str(write_jsonl(project.root / "one.jsonl", [only_row])))
        assert (len(loaded.train), len(loaded.evaluation)) == (1, 0)
        assert loaded.warnings == ("there are no evaluation rows, so nothing can be evaluated",)


def test_every_bad_row_of_every_file_is_reported_at_once(
    project: Project, write_jsonl: Write
) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", [ROWS[0], "oops", {"messages": []}])
    write_jsonl(folder / "eval.jsonl", ["oops"])
    with pytest.raises(ProblemsFound, match="datasets/support has 3 problems") as caught:
        load_dataset(project, "support")
    assert [problem.where for problem in caught.value.problems] == [
        "datasets/support/train.jsonl:2",
        "datasets/support/train.jsonl:3",
        "datasets/support/eval.jsonl:1",
    ]


def test_an_empty_file_is_an_error(project: Project, write_jsonl: Write) -> None:
    write_jsonl(project.dataset("support") / "train.jsonl", [])
    with pytest.raises(ProblemsFound) as caught:
        load_dataset(project, "support")
    assert str(caught.value.problems[0]) == "datasets/support/train.jsonl: is empty"


def test_a_missing_dataset_is_an_error_that_suggests_a_name(
    project: Project, write_jsonl: Write
) -> None:
    write_jsonl(project.dataset("support") / "train.jsonl", ROWS)
    with pytest.raises(
        InvalidInput, match=r"no dataset 'suport' \(did you mean 'support'"
    ) as caught:
        load_dataset(project, "suport")
    assert "datasets here: support. `models prepare-data" in str(caught.value.hint)
    with pytest.raises(InvalidInput, match="no such file or folder"):
        load_dataset(project, "gone/rows.jsonl")


def test_a_folder_without_train_is_an_error(project: Project) -> None:
    project.dataset("support").mkdir(parents=True)
    with pytest.raises(InvalidInput, match=r"datasets/support: has no train.jsonl"):
        load_dataset(project, "support")


def test_a_folder_of_questions_is_for_asking_and_not_for_training(
    project: Project, write_jsonl: Write
) -> None:
    write_jsonl(project.dataset("support") / "eval.jsonl", ROWS)
    dataset = load_dataset(project, "support")
    assert (len(dataset.train), len(dataset.evaluation)) == (0, len(ROWS))
    with pytest.raises(InvalidInput, match=r"datasets/support: has no train.jsonl"):
        load_dataset(project, "support", for_training=True)


@pytest.mark.parametrize("name", ["..", "Support", ".hidden", ""])
def test_a_name_that_is_no_name_is_refused(project: Project, write_jsonl: Write, name: str) -> None:
    write_jsonl(project.root.parent / "secret" / "train.jsonl", ROWS)
    with pytest.raises(InvalidInput, match=f"'{re.escape(name)}' is not a valid dataset name"):
        load_dataset(project, name)


def test_a_path_is_taken_from_the_current_folder(
    project: Project, write_jsonl: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = write_jsonl(project.root.parent / "src" / "good.jsonl", ROWS)
    inside = write_jsonl(project.dataset("support") / "train.jsonl", ROWS)
    for given in ("../src/good.jsonl", "configs/../../src/good.jsonl", str(outside)):
        loaded = load_dataset(project, given)
        assert (loaded.name, loaded.path) == ("good", outside)
    (project.root / "notes").mkdir()
    monkeypatch.chdir(project.root / "notes")
    assert load_dataset(project, "../datasets/support").path == inside.parent
    assert load_dataset(project, "../../src/good.jsonl").path == outside


def test_dots_do_not_lead_out_of_the_project_through_a_link(
    project: Project, write_jsonl: Write
) -> None:
    outside = write_jsonl(project.root.parent / "outside" / "rows.jsonl", ROWS)
    link = write_jsonl(project.root / "rows" / "train.jsonl", ROWS)
    link.unlink()
    link.symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the project"):
        load_dataset(project, "configs/../rows")


@pytest.mark.parametrize("given", ["../gone", "gone/rows.jsonl", "~nobody-here/rows", "a/../../b"])
def test_a_path_that_is_not_there_says_so(project: Project, write_jsonl: Write, given: str) -> None:
    write_jsonl(project.dataset("support") / "train.jsonl", ROWS)
    with pytest.raises(InvalidInput, match="there is no such file or folder") as caught:
        load_dataset(project, given)
    assert caught.value.where == given
    assert "datasets here: support." in str(caught.value.hint)


def test_a_device_is_no_dataset(project: Project) -> None:
    with pytest.raises(InvalidInput, match="/dev/null: is a device"):
        load_dataset(project, "/dev/null")


@pytest.mark.parametrize("link", ["datasets/support", "datasets/support/train.jsonl"])
def test_a_link_that_leaves_the_project_is_refused(
    project: Project, write_jsonl: Write, link: str
) -> None:
    outside = write_jsonl(project.root.parent / "outside" / "train.jsonl", ROWS)
    place = project.root / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside if link.endswith("jsonl") else outside.parent)
    with pytest.raises(InvalidInput, match="leaves the project"):
        load_dataset(project, "support")


def test_the_fingerprint_is_of_the_content(project: Project, write_jsonl: Write) -> None:
    train = project.dataset("support") / "train.jsonl"
    write_jsonl(project.dataset("support") / "eval.jsonl", ROWS[5:])

    def fingerprint(rows: list[Any]) -> str:
        write_jsonl(train, rows)
        return load_dataset(project, "support").fingerprint

    first = fingerprint([row("a", "b"), row("c", "d")])
    assert first.startswith("sha256:") and len(first) == 71
    assert fingerprint(["", '{"prompt":"a",  "completion":"b"}', row("c", "d")]) == first
    changed = [
        [row("c", "d"), row("a", "b")],
        [row("a", "b"), row("c", "d!")],
        [row("a", "b"), row("c", "d", label="d")],
        [row("a", "b")],
    ]
    assert len({first, *map(fingerprint, changed)}) == 5


def test_the_card_says_the_owner_and_whether_rows_changed(
    project: Project, write_jsonl: Write
) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", ROWS)
    (folder / "DATASET.md").write_text(
        "---\norg: techcorp\nfingerprint: sha256:00\n---\n# Support\n"
    )
    loaded = load_dataset(project, "support")
    assert loaded.org == "techcorp"
    assert loaded.warnings == (
        "the rows were changed since datasets/support/DATASET.md was written",
    )


def test_a_half_written_dataset_is_not_taken(project: Project, write_jsonl: Write) -> None:
    folder = project.dataset("support")
    write_jsonl(folder / "train.jsonl", ROWS)
    (folder / "DATASET.md").write_text("---\nunfinished: true\n---\n")
    with pytest.raises(InvalidInput, match="was interrupted") as caught:
        load_dataset(project, "support")
    assert "run the same `models prepare-data` again" in str(caught.value.hint)
