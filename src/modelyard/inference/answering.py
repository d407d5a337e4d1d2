"""Answers that go on from rows whose losses are computed, so that a prompt is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.inference.generation import Generation, Request
from modelyard.inference.losses import RowLoss, Spot
from modelyard.inference.scheduler import Scheduler

_TOGETHER = 64
"""Answers that run at most while more rows are scored: a step of fewer costs each of them more."""


@dataclass(frozen=True, slots=True)
class Start:
    """An answer that is wanted of a scored row."""

    request: Request
    """Its prompt is the beginning of the row."""
    answer: tuple[int, ...]
    """What the answer begins with, by the logits of the row: all but the last token are the row's
    own."""


class Answering:
    """Takes over the rows whose answers are wanted, and computes those beside the scoring."""

    def __init__(
        self, scheduler: Scheduler, wanted: Callable[[int, RowLoss], Start | None]
    ) -> None:
        """wanted: is asked for each row, by its number, when its loss is known."""
        self._scheduler = scheduler
        self._wanted = wanted
        self.generations: dict[int, Generation] = {}
        """The answers, by the number of the row."""

    def take(self, number: int, loss: RowLoss, spot: Spot) -> bool:
        """See `Follower.take`."""
        start = self._wanted(number, loss)
        if start is None:
            return False
        self.generations[number] = self._scheduler.resume(
            start.request, row=spot.row, slot=spot.slot, answer=start.answer
        )
        while self._scheduler.running >= _TOGETHER:
            self._scheduler.step()
        return True

    def make_room(self) -> bool:
        """See `Follower.make_room`."""
        if not self._scheduler.running:
            return False
        self._scheduler.step()
        return True
