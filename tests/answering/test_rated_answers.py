"""Feedback on an answer by its id: what the records add to it, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from answer_samples import make_request
from modelyard.answering.rated_answers import complete_feedback
from modelyard.answering.recorded_prompts import record_prompt
from modelyard.answering.request import GivenText
from modelyard.chatdata.feedback import Feedback, list_feedback, record_feedback
from modelyard.chatdata.feedback_review import withdraw_feedback
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.core.errors import ProblemsFound
from modelyard.core.layout import Project
from modelyard.records.sample import Sample
from modelyard.records.spool import Recorder

ID, PLAIN = "0a1b2c3d4e5f6071", "1a1b2c3d4e5f6071"
ON = RecordPrompts(enabled=True)


@pytest.fixture
def answered(project: Project) -> Project:
    """A project with an answer of acme's adapter, and one of a model without an adapter."""
    recorder = Recorder(project)
    values: dict[str, Any] = {"answered_at_ms": 1, "latency_s": 0.1, "outcome": "answered"}
    recorder.record(Sample(answer_id=ID, organisation="acme", model="sales@3", **values))
    recorder.record(Sample(answer_id=PLAIN, model="model:gpt4", **values))
    recorder.record(
        Sample(answer_id="9" * 16, parent_id=ID, kind="call", model="sales@3", **values)
    )
    recorder.close()
    return project


def keep_prompt(project: Project, question: str = "Who leads sales?", **more: Any) -> None:
    request = make_request(question, organisation="acme", **more)
    assert record_prompt(project, ON, request, answer_id=ID, answer="Ann.") is None


def test_the_record_of_an_answer_says_whose_it_is_and_what_gave_it(answered: Project) -> None:
    rows = (Feedback(answer_id=ID, rating="good"), Feedback(answer_id=PLAIN, rating="bad"))
    first, second = complete_feedback(answered, rows)
    assert (first.org, first.adapter, first.prompt) == ("acme", "sales@3", None)
    assert (second.org, second.adapter) == (None, None)


def test_a_rating_takes_no_text_with_it_though_one_is_recorded(answered: Project) -> None:
    keep_prompt(answered)
    (row,) = complete_feedback(answered, [Feedback(answer_id=ID, rating="good")])
    assert (row.prompt, row.answer, row.training_answer) == (None, None, None)


def test_a_correction_takes_the_recorded_prompt(answered: Project) -> None:
    keep_prompt(answered)
    (row,) = complete_feedback(answered, [Feedback(answer_id=ID, correction="Bob.")])
    assert (row.prompt, row.answer, row.training_answer) == ("Who leads sales?", "Ann.", "Bob.")
    given = Feedback(answer_id=ID, correction="Bob.", prompt="Who?")
    assert complete_feedback(answered, [given])[0].prompt == "Who?"


def test_what_quotes_a_recorded_prompt_lies_where_others_do_not_read(answered: Project) -> None:
    keep_prompt(answered)
    rows = complete_feedback(answered, [Feedback(answer_id=ID, correction="Bob.")])
    added = record_feedback(answered, rows)
    assert (added.added, added.to_learn) == (1, 1)
    assert record_feedback(answered, rows).repeated == 1
    assert record_feedback(answered, rows, dry_run=True).repeated == 1
    (row,) = list_feedback(answered)
    assert (row.prompt, row.answer, row.training_answer) == ("Who leads sales?", "Ann.", "Bob.")
    (path,) = answered.all_feedback_texts
    assert answered.is_confidential(path)
    state = b"".join(each.read_bytes() for each in answered.local_state.glob("state.db*"))
    assert not any(text in state for text in (b"Who leads", b"Ann.", b"Bob."))
    withdraw_feedback(answered, [row.id])
    assert not answered.all_feedback_texts


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Feedback(answer_id="0" * 16, rating="good"), "no record of such an answer"),
        (Feedback(answer_id="9" * 16, rating="good"), "no record of such an answer"),
        (Feedback(answer_id=ID, rating="good", org="other"), "of the organisation acme"),
        (Feedback(answer_id=PLAIN, rating="good", org="acme"), "of no organisation"),
        (Feedback(answer_id=ID, rating="good", adapter="sales@2"), "of the adapter sales@3"),
        (Feedback(answer_id=ID, correction="Bob."), "its prompt is not recorded"),
    ],
)
def test_what_the_records_say_otherwise_is_refused(
    answered: Project, row: Feedback, said: str
) -> None:
    good = Feedback(answer_id=ID, rating="good")
    with pytest.raises(ProblemsFound) as refused:
        complete_feedback(answered, [good, row])
    (problem,) = refused.value.problems
    assert said in problem.message
    assert problem.where == f"answer {row.answer_id}"


@pytest.mark.parametrize(
    "more", [{"system": "Be brief."}, {"files": (GivenText(name="a", text="b"),)}]
)
def test_a_question_that_needs_more_than_its_text_is_no_training_row(
    answered: Project, more: dict[str, Any]
) -> None:
    keep_prompt(answered, **more)
    with pytest.raises(ProblemsFound, match="not valid") as refused:
        complete_feedback(answered, [Feedback(answer_id=ID, correction="Bob.")])
    assert "training row would lack" in refused.value.problems[0].message
