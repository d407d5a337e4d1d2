"""Reasoning that a row holds beside its turns, which belongs before its only answer.

Knows rows and turns as they were given; does not know formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.chatdata.columns import BadRow
from modelyard.chatdata.json_values import is_absent, kind_of
from modelyard.chatdata.turns import role_called

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys of a row that hold reasoning, the first always."""


def with_reasoning(row: Mapping[str, Any], turns: list[Any]) -> list[Any]:
    """The turns with the reasoning that the row holds beside them, before their only answer.

    Raises BadRow where there are several answers.
    """
    given = reasoning_of(row)
    if not given:
        return turns
    answers = [
        place
        for place, turn in enumerate(turns)
        if isinstance(turn, dict)
        and role_called(str(turn.get("role", turn.get("from")))) == "assistant"
    ]
    if not answers:  # which is refused where the turns are checked
        return turns
    key, reasoning = next(iter(given.items()))
    if differing := [other for other in given if given[other] != reasoning]:
        raise BadRow(f"'{key}' and '{differing[0]}' differ; leave out one of them")
    if len(answers) > 1:
        raise BadRow(f"'{key}' is beside several answers; put it into the turn that it belongs to")
    if not isinstance(reasoning, str):
        raise BadRow(f"'{key}' must be text, not {kind_of(reasoning)}")
    answer = turns[answers[0]]
    if answer.get(key, reasoning) != reasoning:
        raise BadRow(f"'{key}' and the one of its answer differ")
    return [*turns[: answers[0]], {**answer, key: reasoning}, *turns[answers[0] + 1 :]]


def reasoning_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a row that hold reasoning; `"reasoning": "on"` is a switch, and kept."""
    first, *others = REASONING_KEYS
    given = {first: row[first]} if not is_absent(row.get(first)) else {}
    texts = {key: row.get(key) for key in others}
    return given | {
        key: text for key, text in texts.items() if isinstance(text, str) and " " in text.strip()
    }
