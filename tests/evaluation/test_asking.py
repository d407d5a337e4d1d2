"""Questions are answered with as few generated tokens as their scores need, and score the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from answering_base import answering
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.tokenizing import tokenize_conversations
from modelyard.core.progress import Progress
from modelyard.evaluation.asking import ask, choose_questions
from modelyard.evaluation.rows import EvaluationRows, choose_rows
from modelyard.inference.engine import Engine
from modelyard.inference.sampling import Sampling


class Asked(Progress):
    """Counts the answers of each call that generates."""

    def __init__(self) -> None:
        self.answers: list[float] = []

    def begin(self, label: str, total: float, unit: str) -> None:
        self.answers.append(total)


def evaluation_rows(
    engine: Engine, labels: Sequence[str], max_length: int = 512, **fields: object
) -> EvaluationRows:
    conversations = [
        Conversation(
            (Message("user", f"Number {place}?"), Message("assistant", label)),
            f"eval.jsonl:{place}",
            fields or {"label": label},
        )
        for place, label in enumerate(labels)
    ]
    tokenized = tokenize_conversations(conversations, engine.tokenizer, max_length=max_length)
    return choose_rows(conversations, tokenized, max_length=max_length)


def answer_all(engine: Engine, rows: EvaluationRows) -> tuple[list[str], list[bool], list[float]]:
    """The answers, whether each is right, and how many were generated in each call."""
    asked = Asked()
    questions = choose_questions(rows, engine.tokenizer, 100)
    losses = engine.row_losses(rows.tokens)
    answers = ask(engine, questions, losses, use_adapter=True, progress=asked)
    right = [question.is_right(answer) for question, answer in zip(questions, answers, strict=True)]
    prompts = [question.prompt for question in questions]
    whole = engine.generate(prompts, Sampling(max_new_tokens=64))
    assert right == [
        question.is_right(made.text) for question, made in zip(questions, whole, strict=True)
    ]
    return answers, right, asked.answers


def test_an_answer_that_the_loss_shows_is_not_generated(tiny_base_folder: Path) -> None:
    engine = answering(tiny_base_folder, "blue")
    rows = evaluation_rows(engine, ["blue", "true", "BLUE", "blue"])
    answers, right, generated = answer_all(engine, rows)
    assert answers == ["blue"] * 4
    assert right == [True, False, True, True]
    assert generated == [2]
    facts = evaluation_rows(engine, ["blue", "It is blue."], expect=[["blue"]])
    assert answer_all(engine, facts) == (["blue", "blue"], [True, True], [1])


def test_an_answer_that_lost_its_end_to_the_length_is_generated(tiny_base_folder: Path) -> None:
    engine = answering(tiny_base_folder, "blue")
    whole = evaluation_rows(engine, ["blue"])
    cut = evaluation_rows(engine, ["blue"], max_length=len(whole.tokens[0].input_ids) - 1)
    assert cut.warnings
    assert answer_all(engine, cut) == (["blue"], [True], [1])


def test_an_answer_longer_than_every_label_is_cut(tiny_base_folder: Path) -> None:
    engine = answering(tiny_base_folder, "blue fox jumps over")
    needed = 1 + max(len(engine.tokenizer.encode(label)) for label in ("true", "sky"))
    answers, right, generated = answer_all(engine, evaluation_rows(engine, ["true", "sky"]))
    cut = engine.tokenizer.encode("blue fox jumps over")[:needed]
    assert answers == [engine.tokenizer.decode(cut)] * 2
    assert right == [False] * 2
    assert generated == [2]


def test_an_answer_that_is_right_after_more_tokens_than_its_label_has_counts(
    tiny_base_folder: Path,
) -> None:
    engine = answering(tiny_base_folder, "a .,!?;:")
    answers, right, generated = answer_all(engine, evaluation_rows(engine, ["a", "sky"]))
    assert answers[0] == "a .,!?;:" and answers[1] != answers[0]
    assert right == [True, False]
    assert generated == [2, 1]


def test_a_single_label_decides_what_all_labels_need(tiny_base_folder: Path) -> None:
    engine = answering(tiny_base_folder, "the lazy dog")
    answers, right, generated = answer_all(
        engine, evaluation_rows(engine, ["sky", "lazy dog jumps over"])
    )
    assert answers == ["the lazy dog"] * 2 and not any(right)
    assert generated == [2]
