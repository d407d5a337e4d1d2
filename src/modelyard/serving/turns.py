"""Whose answer begins next: so many at once, in turn between organisations.

An organisation has another turn only while it has fewer than are free, and a place in the line only
while it has fewer than are free there. So it alone has half of all, two have a third each, and
however much some ask, there is room for one more that asks. (Choudhury and Hahne, Dynamic queue
length thresholds for shared-memory packet switches, 1998, with a factor of 1.)

Used by the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque

from modelyard.serving.problems import Problem

Whose = str | None
"""An organisation; None: that of requests of nobody's."""


class Turns:
    """A line for each organisation; the lines take turns, so a long one delays no other.

    at_once: answers that are under way. waiting: requests that wait.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._places = waiting
        self._held: Counter[Whose] = Counter()
        self._lines: OrderedDict[Whose, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(len(line) for line in self._lines.values())

    async def take(self, whose: Whose) -> None:
        """Wait for a turn, which is to be given back.

        Raises Problem (429) when too many wait.
        """
        if whose not in self._lines and self._may_begin(whose):
            self._begin(whose)
        else:
            await self._wait(whose)

    def give_back(self, whose: Whose) -> None:
        """End a turn; the next may have it."""
        self._free += 1
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]
        self._advance()

    def _may_begin(self, whose: Whose) -> bool:
        return self._held[whose] < self._free

    def _begin(self, whose: Whose) -> None:
        self._free -= 1
        self._held[whose] += 1

    async def _wait(self, whose: Whose) -> None:
        line = self._lines.get(whose, deque())
        if len(line) >= self._places - self.waiting:
            raise Problem(
                status=429,
                message="too many requests wait already: ask again",
                code="queue_full",
                retry_after_s=1,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(whose, line).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # its turn came while its client left
                self.give_back(whose)
            else:
                self._leave(whose, place)
            raise

    def _leave(self, whose: Whose, place: asyncio.Future[None]) -> None:
        line = self._lines.get(whose, deque())
        if place in line:
            line.remove(place)
            if not line:
                del self._lines[whose]

    def _advance(self) -> None:
        """Give turns that are free to the organisations that may have one, in turn."""
        while ready := [whose for whose in self._lines if self._may_begin(whose)]:
            whose = ready[0]
            line = self._lines[whose]
            place = line.popleft()
            if line:
                self._lines.move_to_end(whose)
            else:
                del self._lines[whose]
            if not place.cancelled():
                self._begin(whose)
                place.set_result(None)
