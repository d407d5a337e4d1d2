"""Feedback is checked before it is recorded, and recorded once, all rows or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from killed import interruptions
from modelyard.chatdata.feedback import (
    Feedback,
    check_feedback,
    choose_feedback,
    claim_feedback,
    list_feedback,
    read_feedback,
    record_feedback,
)
from modelyard.core.errors import InvalidInput, ModelyardError, NoData, ProblemsFound
from modelyard.core.layout import Project

SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))
ASKED = {"prompt": "Who leads sales?", "answer": "Ann."}


def problems_of(**values: Any) -> list[str]:
    _, problems = check_feedback(ASKED | values, lambda path: ".".join(map(str, path)))
    return list(map(str, problems))


def some(count: int, **more: Any) -> list[Feedback]:
    asked = [f"How heavy is part {number}?" for number in range(count)]
    return [
        Feedback(prompt=question, answer="Heavy.", correction="Light.", **more)
        for question in asked
    ]


@pytest.mark.parametrize(
    ("values", "training_answer"),
    [
        ({}, None),
        ({"rating": "bad"}, None),
        ({"rating": "good"}, "Ann."),
        ({"rating": "good", "correction": "Bob."}, "Bob."),
        ({"rating": "bad", "correction": "Bob."}, "Bob."),
        ({"correction": "Bob."}, "Bob."),
    ],
)
def test_training_takes_the_correction_else_an_answer_rated_good(
    values: dict[str, Any], training_answer: str | None
) -> None:
    row, problems = check_feedback(ASKED | values, lambda _: None)
    assert row and not problems
    assert row.training_answer == training_answer


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompt": " \n"}, "'prompt' is empty"),
        ({"answer": 3}, "'answer' must be text, not 3"),
        ({"answer": None}, "'answer' is required"),
        ({"correction": ""}, "'correction' is empty"),
        ({"prompt": "a\0b"}, "'prompt' holds the control character \\x00"),
        ({"answer": "\x1b[2Jgone"}, "'answer' holds the control character \\x1b"),
        ({"answer": "\x9b2J"}, "'answer' holds the control character \\x9b"),
        ({"answer": "\ud83d"}, "'answer' is not valid text"),
        ({"prompt": "x" * 1_000_001}, "longer than 1,000,000 characters"),
        ({"rating": "godo"}, "must be one of good, bad, not 'godo' (did you mean 'good'?)"),
        ({"rating": "bad", "correction": "Ann."}, "equals the answer that is rated bad"),
        ({"org": "../other"}, "is not a valid organisation name"),
        ({"org": "Acme"}, "is not a valid organisation name"),
        ({"adapter": "../x@1"}, "is not a valid adapter name"),
        ({"adapter": "x@0"}, "names no version"),
        ({"adapter": "x@"}, "names no version"),
        ({"answer_id": "x y", "rating": "good"}, "is no id of an answer"),
        ({"answer_id": "0a1b"}, "'rating' or 'correction' is required"),
        ({"ratting": "good"}, "unknown key 'ratting' (did you mean 'rating'?)"),
    ],
)
def test_what_cannot_be_kept_is_named_with_its_key(values: dict[str, Any], said: str) -> None:
    (problem,) = problems_of(**values)
    assert said in problem
    place, _, _ = problem.partition(": ")
    assert place in ("rating", *values)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    assert len(problems_of(prompt="", answer="\0", rating="meh", org="A", adapter="B")) == 5


def test_a_row_has_texts_or_the_id_of_an_answer() -> None:
    _, problems = check_feedback({"rating": "good"}, lambda path: ".".join(map(str, path)))
    assert [problem.where for problem in problems] == ["prompt", "answer"]
    assert all("or 'answer_id' instead of both" in problem.message for problem in problems)
    row, problems = check_feedback({"answer_id": "0a1b", "rating": "good"}, lambda _: None)
    assert row and not problems
    assert row.training_answer is None


def test_a_row_without_a_prompt_is_never_a_training_row(project: Project) -> None:
    rows = [
        Feedback(answer_id="0a1b", rating="good"),
        Feedback(answer_id="0a1b", answer="Ann.", rating="good"),
        Feedback(answer_id="0a1b", correction="Bob."),
    ]
    assert record_feedback(project, rows).to_learn == 0
    with pytest.raises(NoData, match="3 with neither"):
        choose_feedback(project, "sales", None)
    assert record_feedback(project, [replace(rows[2], prompt="Who?")]).to_learn == 1
    (chosen,) = choose_feedback(project, "sales", None)
    assert (chosen.prompt, chosen.answer, chosen.training_answer) == ("Who?", None, "Bob.")


def test_line_ends_and_surrounding_space_are_tidied_and_tabs_kept() -> None:
    row, _ = check_feedback({"prompt": " a\r\n\tb \n", "answer": "c"}, lambda _: None)
    assert row and row.prompt == "a\n\tb"


def test_a_file_is_read_in_order_and_refused_as_a_whole(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    good = [{**ASKED, "rating": "good", "org": None}, {**ASKED, "adapter": "sales@12"}]
    read = read_feedback(write_jsonl(tmp_path / "good.jsonl", good))
    assert [(row.rating, row.adapter) for row in read] == [("good", None), (None, "sales@12")]
    bad = [ASKED, "oops", {"prompt": "x"}, [], {**ASKED, "rating": 5}]
    with pytest.raises(ProblemsFound) as caught:
        read_feedback(write_jsonl(tmp_path / "bad.jsonl", bad))
    places = [str(problem.where).rpartition(":")[2] for problem in caught.value.problems]
    assert places == ["2", "3", "4", "5"]


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n")
    with pytest.raises(InvalidInput, match="is empty"):
        read_feedback(empty)
    with pytest.raises(InvalidInput, match="there is no such file"):
        read_feedback(tmp_path / "gone.jsonl")
    with pytest.raises(InvalidInput, match="cannot read"):
        read_feedback(tmp_path)


def test_what_is_recorded_is_listed_oldest_first(project: Project) -> None:
    record_feedback(project, some(2, org="acme"))
    record_feedback(project, some(1, adapter="sales@2"))
    rows = list_feedback(project)
    assert [(row.id, row.org, row.adapter) for row in rows] == [
        (1, "acme", None),
        (2, "acme", None),
        (3, None, "sales@2"),
    ]
    assert [row.id for row in list_feedback(project, org="acme")] == [1, 2]
    assert rows[0].recorded_at.endswith("Z") and rows[0].used_in is None


def test_recording_the_same_again_changes_nothing(project: Project) -> None:
    first = record_feedback(project, [*some(3), *some(2)])
    assert (first.ids, first.added, first.repeated, first.to_learn) == ((1, 2, 3), 3, 2, 3)
    again = record_feedback(project, some(4))
    assert (again.ids, again.added, again.repeated) == ((4,), 1, 3)
    assert record_feedback(project, some(4)).added == 0
    assert record_feedback(project, some(4, org="acme")).added == 4


def test_a_dry_run_and_a_reader_leave_no_trace(project: Project) -> None:
    assert list_feedback(project) == ()
    would = record_feedback(project, [*some(3), *some(1)], dry_run=True)
    assert (would.ids, would.added, would.repeated) == ((), 3, 1)
    assert not project.local_state.exists()
    record_feedback(project, some(2))
    assert record_feedback(project, some(3), dry_run=True).added == 1
    assert len(list_feedback(project)) == 2


def test_recording_cut_off_at_any_call_keeps_all_or_nothing(project: Project) -> None:
    record_feedback(project, some(1, org="before"))
    for number in interruptions(lambda: record_feedback(project, some(5)), "kill"):
        assert len(list_feedback(project)) in (1, 6), number
        record_feedback(project, some(5))
        assert len(list_feedback(project)) == 6
        for file in project.local_state.glob("state.db*"):
            file.unlink()
        record_feedback(project, some(1, org="before"))
    assert number > 10


def test_many_processes_record_at_once_and_nothing_is_lost_or_doubled(
    project: Project, tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    shared = [{"prompt": f"Shared {number}?", "answer": "a"} for number in range(5 * SOAK)]
    script = (
        "import sys; from pathlib import Path; from modelyard.core.layout import Project\n"
        "from modelyard.chatdata.feedback import read_feedback, record_feedback\n"
        "for row in read_feedback(Path(sys.argv[2])):\n"
        "    record_feedback(Project(Path(sys.argv[1])), [row])\n"
    )
    processes = []
    for worker in range(6):
        own = [{"prompt": f"Own {number}?", "answer": str(worker)} for number in range(5 * SOAK)]
        path = write_jsonl(tmp_path / f"{worker}.jsonl", [*shared, *own])
        command = [sys.executable, "-c", script, str(project.root), str(path)]
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [0] * 6
    kept = [(row.prompt, row.answer) for row in list_feedback(project)]
    print(f"6 processes recorded {12 * 5 * SOAK} rows, {len(kept)} of them different")
    assert len(kept) == len(set(kept)) == 7 * 5 * SOAK


def test_rows_are_chosen_by_organisation_and_stay_with_their_dataset(project: Project) -> None:
    record_feedback(project, [*some(2, org="acme"), *some(1, org="other"), *some(1)])
    record_feedback(project, [Feedback(prompt="x", answer="y", rating="bad", org="acme")])
    chosen = choose_feedback(project, "one", "acme")
    assert [row.id for row in chosen] == [1, 2]
    claim_feedback(project, "one", chosen)
    record_feedback(project, [Feedback(prompt="z", answer="y", rating="good", org="acme")])
    assert [row.id for row in choose_feedback(project, "one", "acme")] == [1, 2, 6]
    assert [row.id for row in choose_feedback(project, "two", "acme")] == [6]
    assert [row.id for row in choose_feedback(project, "two", None)] == [4]
    assert [row.id for row in list_feedback(project, unused=True)] == [3, 4, 5, 6]
    with pytest.raises(InvalidInput, match="dataset 'one' holds feedback of organisation acme"):
        choose_feedback(project, "one", "other")


def test_nothing_to_choose_says_why(project: Project) -> None:
    with pytest.raises(NoData, match="no unused feedback without an organisation"):
        choose_feedback(project, "one", None)
    record_feedback(project, [*some(2, org="acme"), Feedback(prompt="x", answer="y", org="acme")])
    claim_feedback(project, "one", choose_feedback(project, "one", "acme"))
    with pytest.raises(NoData) as caught:
        choose_feedback(project, "two", "acme")
    assert "(2 used in dataset 'one', 1 with neither a correction nor" in str(caught.value)
    with pytest.raises(NoData) as caught:
        choose_feedback(project, "two", None)
    assert "feedback of acme, name it with --org" in str(caught.value.hint)


def test_a_row_is_not_claimed_twice_even_without_the_lock(project: Project) -> None:
    record_feedback(project, some(3))
    first, second = choose_feedback(project, "one", None), choose_feedback(project, "two", None)
    claim_feedback(project, "one", first[1:])
    with pytest.raises(ModelyardError, match="feedback 2 was used by another process"):
        claim_feedback(project, "two", second)
    assert [row.used_in for row in list_feedback(project)] == [None, "one", "one"]


def test_what_is_listed_is_plain_json(project: Project) -> None:
    from modelyard.settings.fields import settings_mapping

    record_feedback(project, some(1))
    assert json.loads(json.dumps(settings_mapping(list_feedback(project)[0])))["id"] == 1
