"""Whose turn it is: requests and tokens of a minute, and requests under way at once."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 60.0

Pause = Callable[[float], bool]
"""Waits so many seconds; True when the caller is to stop meanwhile: `threading.Event().wait`."""


def pause(seconds: float) -> bool:
    """A pause that nothing ends early."""
    time.sleep(seconds)
    return False


class Pacer:
    """Keeps the calls of one service within what it allows; shared by all threads that call it.

    requests_per_minute, tokens_per_minute: in any 60 seconds; None where there is no limit.
    concurrent_requests: requests under way at once.
    clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        concurrent_requests: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._slots = threading.BoundedSemaphore(concurrent_requests)
        self._lock = threading.Lock()
        self._sent: deque[tuple[float, int]] = deque()
        self._tokens_sent = 0
        self._held_until = -math.inf

    def take_turn(self, tokens: int, *, within_s: float = math.inf, pause: Pause = pause) -> bool:
        """Wait for room for a call of so many tokens, and count it; True needs an `end_turn`.

        False, and nothing counted, when there is no room within `within_s` or the pause was ended.
        """
        until = self.clock() + within_s
        if not self._slots.acquire(timeout=min(max(within_s, 0.0), threading.TIMEOUT_MAX)):
            return False
        while (wait_s := self._count(tokens)) > 0:
            if self.clock() + wait_s > until or pause(wait_s):
                self._slots.release()
                return False
        return True

    def end_turn(self) -> None:
        """Let another call have the slot."""
        self._slots.release()

    def hold(self, wait_s: float) -> None:
        """Let no call begin for so many seconds: the service asked one of them to wait."""
        with self._lock:
            self._held_until = max(self._held_until, self.clock() + wait_s)

    def _count(self, tokens: int) -> float:
        """Count a call and return 0, or the seconds until there may be room for it."""
        with self._lock:
            now = self.clock()
            while self._sent and self._sent[0][0] <= now - _WINDOW_S:
                self._tokens_sent -= self._sent.popleft()[1]
            wait_s = max(self._held_until - now, self._until_room_s(tokens, now))
            if wait_s <= 0:
                self._sent.append((now, tokens))
                self._tokens_sent += tokens
            return wait_s

    def _until_room_s(self, tokens: int, now: float) -> float:
        """Seconds until the oldest call of the last minute no longer counts; 0 with room."""
        full = self._requests is not None and len(self._sent) >= self._requests
        # A call that is larger than the allowance goes alone.
        over = self._tokens is not None and self._tokens_sent + tokens > self._tokens
        if not full and not (over and self._sent):
            return 0.0
        return self._sent[0][0] + _WINDOW_S - now + 0.001
