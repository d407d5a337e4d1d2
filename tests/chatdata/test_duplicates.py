"""Repeated rows, equal or nearly equal."""

from __future__ import annotations

import random
import time

import pytest

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.duplicates import find_near, find_repeated, find_shared


def asking(question: str, answer: str = "Yes.", source: str = "") -> Conversation:
    turns = (Message("user", question), Message("assistant", answer))
    return Conversation(turns, source or question, {})


OTHERS = [asking(f"Where do I find form {n} of office {n * 7}?") for n in range(50)]


def test_a_row_equal_to_an_earlier_one_is_found() -> None:
    rows = [asking("a", source="1"), asking("b", source="2"), asking("a", source="3")]
    rows += [asking("a", "No.", source="4"), asking("a", source="5")]
    assert [(pair.source, pair.other) for pair in find_repeated(rows)] == [("3", "1"), ("5", "1")]


def test_a_row_of_train_in_eval_is_found() -> None:
    (pair,) = find_shared(
        [asking("a", source="train:1"), asking("b", source="train:2")],
        [asking("b", source="eval:1"), asking("b", "No.", source="eval:2")],
    )
    assert (pair.source, pair.other, pair.similarity) == ("eval:1", "train:2", 1.0)


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        ("How do I dispute a direct debit payment?", "How can I dispute a direct debit payment?"),
        ("My cash withdrawal was declined. Why?", "my cash withdrawal was declined, why"),
        (
            "What documents do I need for the identity check?",
            "What do I need for the identity check?",
        ),
        ("東京の支社はいつ開きますか", "東京の支社はいつ開きますか?"),
    ],
)
def test_a_question_in_nearly_the_same_words_is_found(trained: str, asked: str) -> None:
    (pair,) = find_near([*OTHERS, asking(trained)], [asking(asked)])
    assert (pair.source, pair.other) == (asked, trained)
    assert 0.6 <= pair.similarity <= 1


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        ("How long does a transfer to Europe take?", "How long does it take to get a new card?"),
        ("Who leads the legal team?", "Who is the head of the help desk?"),
    ],
)
def test_another_question_is_not(trained: str, asked: str) -> None:
    assert find_near([*OTHERS, asking(trained)], [asking(asked)]) == []


def test_an_instruction_that_opens_every_row_says_nothing() -> None:
    opening = "You sort the tickets of a help desk. Answer with one word and nothing else. Ticket: "
    subjects = [
        "the printer on the third floor is on fire",
        "cannot log in",
        "new laptop please",
        "the phone is dead",
    ]
    subjects += [f"subject {n} of day {n * 3}" for n in range(30)]
    train = [asking(opening + subject) for subject in subjects]
    assert find_near(train, [asking(opening + "mouse without battery")]) == []
    assert len(find_near(train, [asking(opening + "printer on the third floor is on fire")])) == 1


def test_equal_rows_are_not_called_near() -> None:
    assert find_near([asking("a b c")], [asking("a b c")]) == []
    assert len(find_near([asking("a b c")], [asking("a b c", "No.")])) == 1


def test_nothing_is_near_to_nothing() -> None:
    assert find_near([], [asking("a")]) == find_near([asking("a")], []) == []
    assert find_near([asking("???")], [asking("!!!")]) == []


def test_every_changed_word_of_many_rows_is_found_in_seconds() -> None:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=6)) for _ in range(3000)]
    train = [
        asking(" ".join(chance.choices(words, k=20)), source=f"train:{n}") for n in range(10_000)
    ]
    evaluation = []
    for number in range(1000):
        question = train[number * 10].first_question.split()
        question[chance.randrange(20)] = "changed"
        evaluation.append(asking(" ".join(question), source=f"eval:{number}"))
    started = time.process_time()
    pairs = find_near(train, evaluation)
    assert time.process_time() - started < 5
    assert [pair.other for pair in pairs] == [f"train:{number * 10}" for number in range(1000)]
