"""The answer that most samples agree on."""

from __future__ import annotations

import pytest

from modelyard.answering.majority import choose


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (["a"], (0, 1)),
        (["a", "b", "c"], (0, 1)),
        (["a", "b", "b"], (1, 2)),
        (["a", "b", "b", "a"], (0, 2)),
        (["It is Bob.", "it is  BOB", "Ann"], (0, 2)),
        (["**Bob**", '"Bob"', "Ann", "Ann", "Ann"], (2, 3)),
        (["Ann", "ＢＯＢ", "Bob"], (1, 2)),
        (["x", '{"a": 1, "b": [2]}', '```json\n{"b":[2],"a":1}\n```'], (1, 2)),
        (['{"a": 1}', '{"a": 2}', '{"a": 2.5}'], (0, 1)),
        (["", " ", "a"], (0, 2)),
    ],
)
def test_the_largest_group_of_equal_answers_wins(texts: list[str], chosen: tuple[int, int]) -> None:
    assert choose(texts) == chosen


def test_minus_one_is_not_one() -> None:
    assert choose(["-1", "1", "1"]) == (1, 2)
