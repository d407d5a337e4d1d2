"""Questions are answered with as few generated tokens as their scores need, and score the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from answering_base import answering
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations
from modelyard.core.progress import Progress, Silent
from modelyard.evaluation.asking import Question, ask, choose_questions
from modelyard.evaluation.rows import EvaluationRows, choose_rows
from modelyard.inference.engine import LoadedModel
from modelyard.inference.sampling import Sampling


class Asked(Progress):
    """Counts the answers of each call that generates."""

    def __init__(self) -> None:
        self.answers: list[float] = []

    def begin(self, label: str, total: float, unit: str) -> None:
        self.answers.append(total)


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


def answer_all(
    model: LoadedModel, rows: EvaluationRows
) -> tuple[list[str], list[bool], list[float]]:
    """The answers, whether each is right, and how many were generated in each call."""
    asked = Asked()
    questions = choose_questions(rows, model.tokenizer, 100)
    losses = model.engine.row_losses([(model, row) for row in rows.tokens])
    (answers,) = ask([model], questions, [losses], progress=asked)
    right = [question.is_right(answer) for question, answer in zip(questions, answers, strict=True)]
    prompts = [question.prompt for question in questions]
    sampling = Sampling(max_new_tokens=64)
    whole = model.engine.answer([model.request(prompt, sampling) for prompt in prompts], label="")
    assert right == [
        question.is_right(made.text) for question, made in zip(questions, whole, strict=True)
    ]
    return answers, right, asked.answers


def test_an_answer_that_the_loss_shows_is_not_generated(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "blue")
    rows = evaluation_rows(model, ["blue", "true", "BLUE", "blue"])
    answers, right, generated = answer_all(model, rows)
    assert answers == ["blue"] * 4
    assert right == [True, False, True, True]
    assert generated == [2]
    facts = evaluation_rows(model, ["blue", "It is blue."], expect=[["blue"]])
    assert answer_all(model, facts) == (["blue", "blue"], [True, True], [1])


def test_an_answer_that_lost_its_end_to_the_length_is_generated(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "blue")
    whole = evaluation_rows(model, ["blue"])
    cut = evaluation_rows(model, ["blue"], max_length=len(whole.tokens[0].input_ids) - 1)
    assert cut.warnings
    assert answer_all(model, cut) == (["blue"], [True], [1])


def test_an_answer_longer_than_every_label_is_cut(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "blue fox jumps over")
    needed = 1 + max(len(model.tokenizer.encode(label)) for label in ("true", "sky"))
    answers, right, generated = answer_all(model, evaluation_rows(model, ["true", "sky"]))
    cut = model.tokenizer.encode("blue fox jumps over")[:needed]
    assert answers == [model.tokenizer.decode(cut)] * 2
    assert right == [False] * 2
    assert generated == [2]


def test_an_answer_that_is_right_after_more_tokens_than_its_label_has_counts(
    tiny_base_folder: Path,
) -> None:
    model = answering(tiny_base_folder, "a .,!?;:")
    answers, right, generated = answer_all(model, evaluation_rows(model, ["a", "sky"]))
    assert answers[0] == "a .,!?;:" and answers[1] != answers[0]
    assert right == [True, False]
    assert generated == [2, 1]


def test_a_single_label_decides_what_all_labels_need(tiny_base_folder: Path) -> None:
    model = answering(tiny_base_folder, "the lazy dog")
    answers, right, generated = answer_all(
        model, evaluation_rows(model, ["sky", "lazy dog jumps over"])
    )
    assert answers == ["the lazy dog"] * 2 and not any(right)
    assert generated == [2]


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
    losses = model.engine.row_losses([(model, tokens)])
    ((answer,),) = ask([model], questions, [losses], progress=Silent())
    assert model.tokenizer.encode(answer) == model.tokenizer.encode("the lazy dog jumps")[:3]
