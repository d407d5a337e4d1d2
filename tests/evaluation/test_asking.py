"""Questions are answered with as few generated tokens as their scores need, and score the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from answering_base import answering
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations
from modelyard.core.progress import Progress, Silent
from modelyard.evaluation.asking import Question, choose_questions, measure
from modelyard.evaluation.right_answers import is_right
from modelyard.evaluation.rows import EvaluationRows, choose_rows
from modelyard.inference.engine import LoadedModel
from modelyard.inference.interfaces import Segment
from modelyard.inference.sampling import Sampling


class Counted(Progress):
    """Counts the rows and answers of each call that computes some."""

    def __init__(self) -> None:
        self.totals: dict[str, list[float]] = {}

    def begin(self, label: str, total: float, unit: str) -> None:
        self.totals.setdefault(label, []).append(total)


def evaluation_rows(
    model: LoadedModel, labels: Sequence[str], max_length: int = 512, **fields: object
) -> EvaluationRows:
    conversations = [
        Conversation(
            (Message("user", f"Number {place}?"), Message("assistant", label)),
            f"eval.jsonl:{place}",
            fields or {"label": label},
        )
        for place, label in enumerate(labels)
    ]
    tokenized = tokenize_conversations(conversations, model.tokenizer, max_length=max_length)
    return choose_rows(conversations, tokenized, max_length=max_length)


@dataclass
class Found:
    answers: list[str]
    right: list[bool]
    generated: int
    """Tokens of answers that were computed after the losses."""
    asked_again: float
    """Answers that were asked for from the beginning of their prompts."""


def answer_all(model: LoadedModel, rows: EvaluationRows, monkeypatch: pytest.MonkeyPatch) -> Found:
    generated = 0
    step = model.engine.decoder.step

    def counted_step(segments: Sequence[Segment]) -> Tensor:
        nonlocal generated
        generated += sum(
            len(segment.tokens) == 1 for segment in segments if segment.logits == "last"
        )
        return step(segments)

    counted = Counted()
    questions = choose_questions(rows, model.tokenizer, 100)
    with monkeypatch.context() as patch:
        patch.setattr(model.engine.decoder, "step", counted_step)
        (measured,) = measure([model], rows.tokens, questions, progress=counted)
    losses = model.engine.row_losses([(model, row) for row in rows.tokens])
    assert [each.total for each in measured.losses] == [each.total for each in losses]
    right = [
        is_right(question.row, answer)
        for question, answer in zip(questions, measured.answers, strict=True)
    ]
    prompts = [question.prompt for question in questions]
    sampling = Sampling(max_new_tokens=64)
    whole = model.engine.answer([model.request(prompt, sampling) for prompt in prompts], label="")
    assert right == [
        is_right(question.row, made.text) for question, made in zip(questions, whole, strict=True)
    ]
    assert counted.totals["rows"] == [len(rows.tokens)]
    return Found(list(measured.answers), right, generated, sum(counted.totals.get("answers", [])))


def test_an_answer_goes_on_from_what_the_loss_shows_of_it(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = answering(tiny_base_folder, "blue")
    length = len(model.tokenizer.encode("blue"))
    rows = evaluation_rows(model, ["blue", "true", "BLUE", "blue"])
    found = answer_all(model, rows, monkeypatch)
    assert found.answers == ["blue"] * 4
    assert found.right == [True, False, True, True]
    assert (found.generated, found.asked_again) == (2 * length, 0)
    facts = evaluation_rows(model, ["blue", "It is blue."], expect=[["blue"]])
    assert answer_all(model, facts, monkeypatch) == Found(["blue"] * 2, [True] * 2, length, 0)


def test_an_answer_that_lost_its_end_to_the_length_is_generated(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = answering(tiny_base_folder, "blue")
    whole = evaluation_rows(model, ["blue"])
    cut = evaluation_rows(model, ["blue"], max_length=len(whole.tokens[0].input_ids) - 1)
    assert cut.warnings
    assert answer_all(model, cut, monkeypatch) == Found(["blue"], [True], 1, 0)


def test_an_answer_longer_than_every_label_is_cut(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = answering(tiny_base_folder, "blue fox jumps over")
    needed = 1 + max(len(model.tokenizer.encode(label)) for label in ("true", "sky"))
    found = answer_all(model, evaluation_rows(model, ["true", "sky"]), monkeypatch)
    cut = model.tokenizer.encode("blue fox jumps over")[:needed]
    assert found.answers == [model.tokenizer.decode(cut)] * 2
    assert found.right == [False] * 2
    assert found.generated == 2 * (needed - 1)


def test_an_answer_that_is_right_after_more_tokens_than_its_label_has_counts(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = answering(tiny_base_folder, "a .,!?;:")
    found = answer_all(model, evaluation_rows(model, ["a", "sky"]), monkeypatch)
    assert found.answers[0] == "a .,!?;:" and found.answers[1] != found.answers[0]
    assert found.right == [True, False]
    assert found.asked_again == 1


def test_a_single_label_decides_what_all_labels_need(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = answering(tiny_base_folder, "the lazy dog")
    rows = evaluation_rows(model, ["sky", "lazy dog jumps over"])
    found = answer_all(model, rows, monkeypatch)
    assert found.answers == ["the lazy dog"] * 2 and not any(found.right)
    assert found.asked_again == 0


def test_a_row_that_does_not_begin_with_its_prompt_is_asked_from_the_beginning(
    tiny_base_folder: Path,
) -> None:
    model = answering(tiny_base_folder, "blue")
    rows = evaluation_rows(model, ["blue", "blue"])
    questions = list(choose_questions(rows, model.tokenizer, 100))
    other = [5, *questions[0].prompt]
    questions[0] = replace(questions[0], prompt=other)
    counted = Counted()
    (measured,) = measure([model], rows.tokens, questions, progress=counted)
    assert measured.answers == ("blue", "blue")
    assert counted.totals == {"rows": [2], "answers": [1]}


def test_a_question_that_nearly_fills_the_context_gets_what_room_there_is(
    tiny_base_folder: Path,
) -> None:
    model = answering(tiny_base_folder, "the lazy dog jumps")
    question = Message("user", "fox " * 300)
    while len(model.tokenizer.encode_prompt([question])) > model.engine.longest - 3:
        question = Message("user", question.content[:-4])
    row = Conversation((question, Message("assistant", "x")), "eval.jsonl:1", {"label": "sky"})
    ids = model.tokenizer.encode_prompt([question])
    trained = np.arange(len(ids) + 1) == len(ids)
    tokens = TokenRow(np.array([*ids, 5], dtype=np.int32), trained, row.source)
    questions = [Question(row, tokens, 0, ids)]
    (measured,) = measure([model], [tokens], questions, progress=Silent())
    wanted = model.tokenizer.encode("the lazy dog jumps")[:3]
    assert model.tokenizer.encode(measured.answers[0]) == wanted
