"""An answer as lines of JSON, for the commands of this machine: its pieces, then how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard.answering.request import Answer
from modelyard.serving.problems import Problem


class JsonLines:
    """What is written of an answer (`exchange.EventWriter`): `{"piece": text}` for each piece, and
    last what `tell` makes of the whole, or `{"error": ...}`."""

    def __init__(self, tell: Callable[[Answer], Mapping[str, Any]]) -> None:
        self._tell = tell

    def begin(self) -> Iterator[str]:
        yield from ()

    def piece(self, text: str) -> Iterator[str]:
        yield _line({"piece": text})

    def end(self, answer: Answer) -> Iterator[str]:
        yield _line(self._tell(answer))

    def fail(self, problem: Problem) -> Iterator[str]:
        yield _line(problem.body("local"))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value) + "\n"
