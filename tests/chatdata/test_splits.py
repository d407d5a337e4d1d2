"""A row always lands on the same side."""

from __future__ import annotations

import random
import string

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.dataset import split_conversations, split_position


def asking(question: str, answer: str = "Yes.") -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), "", {})


def random_rows(chance: random.Random, count: int) -> list[Conversation]:
    alphabet = string.ascii_letters + " ?é日"
    return [
        asking("".join(chance.choices(alphabet, k=chance.randint(1, 40)))) for _ in range(count)
    ]


def test_a_row_keeps_its_side_when_the_file_grows_shrinks_or_is_shuffled() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        rows = random_rows(chance, chance.randint(1, 200))
        trained = set(map(id, split_conversations(rows)[0]))
        grown = rows + random_rows(chance, 100)
        chance.shuffle(grown)
        train, evaluation = split_conversations(grown)
        assert len(train) + len(evaluation) == len(grown)
        for row in rows:
            assert (row in train) == (id(row) in trained)


def test_a_larger_share_only_moves_rows_towards_evaluation() -> None:
    rows = random_rows(random.Random(1), 500)
    smaller = {id(row) for row in split_conversations(rows, 0.1)[1]}
    larger = {id(row) for row in split_conversations(rows, 0.3)[1]}
    assert smaller < larger


def test_the_share_is_kept_on_many_rows() -> None:
    rows = [asking(f"Question number {number}?") for number in range(10_000)]
    assert 900 < len(split_conversations(rows)[1]) < 1100


def test_the_same_question_never_lies_on_both_sides() -> None:
    for number in range(50):
        written = [f"Is it  {number}?", f"is it {number}", f" IS IT {number}!\n"]
        assert len({split_position(asking(text, text)) for text in written}) == 1


def test_sides_do_not_depend_on_the_machine() -> None:
    assert round(split_position(asking("What is it?")), 6) == POSITION_OF_WHAT_IS_IT
    assert 0 <= split_position(asking("???")) < 1


POSITION_OF_WHAT_IS_IT = 0.896701
"""Fixed: a change would move the rows of every dataset from side to side."""
