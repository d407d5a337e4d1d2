"""A tuned model against its base, by their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import review_rows, run_hosted, spent_and_reserved
from tuning_server import TuningServer

from deploy_samples import edit
from modelyard.core.layout import Project

Models = Callable[..., int]
Write = Callable[[Path, list[Any]], Path]
EVALUATE = ("evaluate", "--model", "gpt4_exp_004", "--dataset", "reviews")


@pytest.fixture
def tuned(reviews: Project, tuning: TuningServer, write_jsonl: Write) -> Project:
    """The project with a tuned model, which knows its multiples of three; the base knows some."""
    rows = review_rows(6, start=100)
    for row in rows:
        number = int(re.findall(r"\d+", row["messages"][0]["content"])[0])
        row["expect"] = [[str(number * 3)]]
        row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    del rows[5]["expect"]
    write_jsonl(reviews.root / "datasets/reviews/eval.jsonl", rows)
    run_hosted(reviews)

    def answer(model: str, question: str) -> str:
        number = int(re.findall(r"\d+", question)[0])
        knows = model.startswith("ft:") or number in (101, 103)
        return f"It returns {number * 3}." if knows else "It returns nothing."

    tuning.answer = answer
    return reviews


def test_both_are_asked_the_same_rows_and_scored(
    tuned: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = spent_and_reserved(tuned)
    assert models(*EVALUATE, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["left_out"]) == (5, 1)
    assert (found["base_share"], found["tuned_share"]) == (pytest.approx(0.4), 1.0)
    assert found["difference"]["mean"] == pytest.approx(0.6)
    assert {each["base_right"] for each in found["examples"]} == {True, False}
    asked = [body["model"].partition(":")[0] for body in tuning.asked]
    assert sorted(asked) == ["ft"] * 5 + ["gpt-4o-2024-08-06"] * 5
    assert all(body["temperature"] == 0 for body in tuning.asked)
    assert all(body["messages"][0]["content"] == "Be brief." for body in tuning.asked)
    # 5 answers of 1,000 and 100 tokens at $2.50 and $10, and 5 at $3.75 and $15.
    assert found["cost_usd"] == pytest.approx(5 * (3.5e-3 + 5.25e-3))
    spent, reserved = spent_and_reserved(tuned)
    assert spent - before == pytest.approx(found["cost_usd"]) and reserved == 0


def test_people_see_a_row_for_each_dataset(
    tuned: Project, models: Models, write_jsonl: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = review_rows(3, start=100)
    labelled = [{**row, "label": row["messages"][-1]["content"].lower()} for row in rows]
    write_jsonl(tuned.root / "datasets/labels/train.jsonl", review_rows(3))
    write_jsonl(tuned.root / "datasets/labels/eval.jsonl", labelled)
    assert models(*EVALUATE, "--dataset", "labels", "--answers", "2") == 0
    out = capsys.readouterr().out
    assert "gpt4_exp_004 against gpt-4o-2024-08-06" in out
    assert re.search(r"reviews\s+2 ", out) and re.search(r"labels\s+2 ", out)


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a model of no job": (
        ("--model", "gpt4"),
        2,
        "no hosted job in experiments/ made gpt-4o",
    ),
    "an option of adapters": (("--max-length", "99"), 2, "--max-length is for adapters"),
    "no network": (("--offline",), 2, "--offline is for adapters"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_compared_is_refused_before_a_call(
    tuned: Project,
    models: Models,
    tuning: TuningServer,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    words, code, message = REFUSED[what]
    assert models(*EVALUATE, *words) == code
    assert message in capsys.readouterr().err and tuning.asked == []


def test_rows_that_may_not_leave_are_not_asked(
    tuned: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tuned.root / "datasets/reviews/DATASET.md").write_text("---\nlocal_only: true\n---\n")
    assert models(*EVALUATE) == 2
    assert "may not leave this machine" in capsys.readouterr().err and tuning.asked == []


def test_rows_that_say_nothing_of_right_answers_are_no_data(
    tuned: Project,
    models: Models,
    tuning: TuningServer,
    write_jsonl: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_jsonl(tuned.root / "datasets/reviews/eval.jsonl", review_rows(3, start=100))
    assert models(*EVALUATE) == 5
    assert "a provider computes no losses" in capsys.readouterr().err and tuning.asked == []


def test_the_budget_holds_for_the_answers_too(
    tuned: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(tuned, "integration", "per_day: $10", "per_day: $0.31")  # the job cost $0.30
    assert models(*EVALUATE) == 4
    assert "nothing was called" in capsys.readouterr().err and tuning.asked == []
