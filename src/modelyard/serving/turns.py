"""Whose answer begins next: so many at once, in turn between organisations.

Used by the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from modelyard.serving.problems import Problem


class Turns:
    """A line for each organisation; the lines take turns, so a long one delays no other.

    at_once: answers that are under way. waiting: requests that wait; another is refused.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._most_waiting = waiting
        self._lines: OrderedDict[str | None, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting

    @asynccontextmanager
    async def turn(self, organisation: str | None) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block is left.

        Raises Problem (429) when too many wait.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(organisation)
        try:
            yield
        finally:
            self._next()

    async def _wait(self, organisation: str | None) -> None:
        if self._waiting >= self._most_waiting:
            raise Problem(
                status=429,
                message="too many requests wait already: ask again",
                code="queue_full",
                retry_after_s=1,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(organisation, deque())
        line.append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # its turn came while its client left
                self._next()
            else:
                self._leave(organisation, place)
            raise

    def _leave(self, organisation: str | None, place: asyncio.Future[None]) -> None:
        line = self._lines[organisation]
        line.remove(place)
        self._waiting -= 1
        if not line:
            del self._lines[organisation]

    def _next(self) -> None:
        """Give a turn that is over to the next organisation, or keep it free."""
        while self._lines:
            organisation, line = next(iter(self._lines.items()))
            place = line.popleft()
            self._waiting -= 1
            if line:
                self._lines.move_to_end(organisation)
            else:
                del self._lines[organisation]
            if not place.cancelled():
                place.set_result(None)
                return
        self._free += 1
