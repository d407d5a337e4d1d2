"""The results of a turn's calls, each with its call: templates write them one after another.

Many templates render no ids, so a result that stands elsewhere would be learned as another call's.
Knows calls and the turns that answer them; does not know roles' names or templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from modelyard.chatdata.columns import BadRow
from modelyard.chatdata.conversation import Message
from modelyard.core.errors import did_you_mean
from modelyard.core.wording import counted


def order_results(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with the results of each turn's calls in the order of the calls.

    Ids decide where calls and results have them, else the order counts. One result without an id
    may hold those of all calls, as ShareGPT has it. Raises BadRow.
    """
    ordered: list[Message] = []
    while len(ordered) < len(messages):
        turn = messages[len(ordered)]
        ordered.append(turn)
        results = list(takewhile(_is_result, messages[len(ordered) :]))
        if calls := turn.more.get("tool_calls"):
            ordered += _of_calls(calls, results, len(ordered)) if results else []
        else:
            ordered += results  # the calls are text of the answer
    return tuple(ordered)


def require_known_tools(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise BadRow for a call of a tool that is not among the row's; without any, all are known."""
    names = [tool.get("function", tool)["name"] for tool in tools]
    for number, turn in enumerate(messages, start=1):
        for call in turn.more.get("tool_calls", ()):
            name = call["function"]["name"]
            if names and name not in names:
                near = did_you_mean(name, names)
                raise BadRow(
                    f"message {number}: calls '{name}', which is not among the row's tools{near}"
                )


def _is_result(turn: Message) -> bool:
    return turn.role == "tool"


def _of_calls(
    calls: Sequence[Mapping[str, Any]], results: Sequence[Message], number: int
) -> list[Message]:
    """The results in the order of the calls, which message `number` makes."""
    ids = [_id(call, "id") for call in calls]
    given = [_id(result.more, "tool_call_id") for result in results]
    if given == [""]:
        return list(results)
    if "" in ids or len(set(ids)) < len(ids):  # they tell no call from another
        if len(results) != len(calls):
            raise BadRow(
                f"message {number} makes {counted(len(calls), 'call')}, and "
                f"{counted(len(results), 'result')} follow{'s' if len(results) == 1 else ''}"
            )
        return list(results)
    found: dict[str, Message] = {}
    free = [id for id in ids if id not in given]
    for place, (own, result) in enumerate(zip(given, results, strict=True), number + 1):
        id = own or (free.pop(0) if free else "")
        if not id:
            raise BadRow(f"message {place}: is a result without a call")
        if id not in ids:
            raise BadRow(f"message {place}: 'tool_call_id' names no call of message {number}")
        if id in found:
            raise BadRow(f"message {place}: is a second result of one call of message {number}")
        found[id] = result
    if len(found) < len(ids):
        place = next(place for place, id in enumerate(ids, 1) if id not in found)
        raise BadRow(f"message {number}: its call {place} has no result")
    return [found[id] for id in ids]


def _id(value: Mapping[str, Any], key: str) -> str:
    """An id as text; empty without one."""
    return "" if value.get(key) is None else str(value[key])
