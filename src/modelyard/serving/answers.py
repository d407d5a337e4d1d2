"""Answers under way: each is computed in a thread and read by the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace

from modelyard.answering.answer import Answerer
from modelyard.answering.request import Answer, Request
from modelyard.deployments.effective_settings import Effective
from modelyard.serving.turns import Turns


class Answers:
    """Begins answers in their turn. An answer that nobody reads any more is cancelled."""

    def __init__(self, answerer: Answerer, *, at_once: int, waiting: int) -> None:
        self._answerer = answerer
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="answer")
        self.turns = Turns(at_once=at_once, waiting=waiting)
        self.under_way = 0
        """How many answers are computed, or wait for their turn."""

    @asynccontextmanager
    async def begin(self, effective: Effective, request: Request) -> AsyncIterator[RunningAnswer]:
        """Begin an answer; it ends, at the latest, when the block is left.

        Its turn ends when it is computed, however slowly its client takes it. Raises Problem (429)
        when too many wait.
        """
        whose = request.organisation
        self.under_way += 1
        try:
            await self.turns.take(whose)
            running = RunningAnswer(self._answerer, effective, request)
            done = running.start(self._threads)
            done.add_done_callback(lambda _: self.turns.give_back(whose))
            try:
                yield running
            finally:
                running.cancelled.set()
                await asyncio.shield(asyncio.wait([done]))
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """Let the threads end; nothing is under way any more."""
        self._threads.shutdown(wait=True)


class RunningAnswer:
    """One answer: its pieces as they come, and then all of it."""

    def __init__(self, answerer: Answerer, effective: Effective, request: Request) -> None:
        self.cancelled = threading.Event()
        """Set it, and the answer ends within one step of the model."""
        self._answerer = answerer
        self._effective = effective
        self._request = replace(request, cancelled=self.cancelled)
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Answer | Exception] = asyncio.Queue()
        self._computed_at: float | None = None
        self._ended: Answer | Exception | None = None

    def start(self, threads: ThreadPoolExecutor) -> asyncio.Future[None]:
        """Begin to compute it."""
        return self._loop.run_in_executor(threads, self._compute)

    def _compute(self) -> None:
        """Runs in a thread."""
        end: Answer | Exception
        try:
            end = self._answerer.answer(self._effective, self._request, on_text=self._put)
        except Exception as error:
            end = error
        self._computed_at = time.monotonic()
        self._put(end)

    def _put(self, event: str | Answer | Exception) -> None:
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    @property
    def computed_s(self) -> float:
        """Seconds since all of it is computed; 0 until then."""
        return 0.0 if self._computed_at is None else time.monotonic() - self._computed_at

    async def next_piece(self) -> str | None:
        """The next piece of text; None when there is no more. Raises what made it fail."""
        if self._ended is None:
            event = await self._events.get()
            if isinstance(event, str):
                return event
            self._ended = event
        if isinstance(self._ended, Exception):
            raise self._ended
        return None

    async def whole(self) -> Answer:
        """The answer when it has come to its end. Raises what made it fail."""
        while await self.next_piece() is not None:
            pass
        assert isinstance(self._ended, Answer)
        return self._ended
