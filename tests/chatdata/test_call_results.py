"""Results of parallel calls stand in the order of their calls, and each has one."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.chatdata.columns import BadRow
from modelyard.chatdata.row_formats import build_conversation

TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def built(calls: list[Any], results: list[tuple[Any, str]], tools: list[Any]) -> list[str]:
    """The texts of the results in the row that this becomes."""
    called = [
        {"function": {"name": "find", "arguments": {}}, **({"id": id} if id is not None else {})}
        for id in calls
    ]
    answers = [
        {"role": "tool", "content": text, **({"tool_call_id": id} if id is not None else {})}
        for id, text in results
    ]
    messages = [
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "", "tool_calls": called},
        *answers,
        {"role": "assistant", "content": "These."},
    ]
    row = build_conversation({"messages": messages, "tools": tools}, "a:1", None)
    return [turn.content for turn in row.messages if turn.role == "tool"]


@pytest.mark.parametrize(
    ("calls", "results"),
    [
        (["1", "2"], [("1", "first"), ("2", "second")]),
        (["1", "2"], [("2", "second"), ("1", "first")]),
        ([1, 2], [("2", "second"), ("1", "first")]),
        (["1", "2"], [("2", "second"), (None, "first")]),
        (["1", "2"], [(None, "first"), (None, "second")]),
        ([None, None], [("x", "first"), ("y", "second")]),
        (["same", "same"], [("same", "first"), ("same", "second")]),
    ],
)
def test_results_stand_in_the_order_of_their_calls(calls: list[Any], results: Any) -> None:
    assert built(calls, results, [TOOL]) == ["first", "second"]


def test_one_result_without_an_id_may_hold_those_of_all_calls() -> None:
    assert built(["1", "2"], [(None, "both")], []) == ["both"]


@pytest.mark.parametrize(
    ("calls", "results", "said"),
    [
        (["1"], [("zzz", "x")], "message 3: 'tool_call_id' names no call of message 2"),
        (
            ["1", "2"],
            [("1", "x"), ("1", "y")],
            "message 4: is a second result of one call of message 2",
        ),
        (["1", "2"], [("2", "x")], "message 2: its call 1 has no result"),
        (["1"], [("1", "x"), (None, "y")], "message 4: is a result without a call"),
        ([None], [(None, "x"), (None, "y")], "message 2 makes 1 call, and 2 results follow"),
        ([None, None], [("1", "x")], "message 2 makes 2 calls, and 1 result follows"),
    ],
)
def test_what_is_no_result_of_a_call_is_refused(calls: list[Any], results: Any, said: str) -> None:
    with pytest.raises(BadRow) as caught:
        built(calls, results, [])
    assert caught.value.messages == (said,)


def test_a_call_of_a_tool_that_the_row_does_not_have_is_refused() -> None:
    with pytest.raises(BadRow, match=r"message 2: calls 'find', which is not among the row's"):
        built(["1"], [("1", "x")], [{"name": "fund"}])


@pytest.mark.parametrize("tool", [{}, {"type": "function"}, {"function": {"name": " "}}])
def test_a_tool_without_a_name_is_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(BadRow, match="a tool of 'tools' has no name"):
        built(["1"], [("1", "x")], [tool])
