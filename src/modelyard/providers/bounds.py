"""What one call may take: until when, how many bytes, and the key that it is sent with.

They hold for the thread that makes the call, from the first name that is resolved to the last byte
that is read. The official clients know only a timeout for each read, which a server that sends a
byte now and then never exceeds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from modelyard.providers.call import CallFailure

LOOK_S = 0.25
"""How often a call that waits looks whether it is still wanted."""


class CallEnded(Exception):
    """Ends a call without an answer; the clients let it pass, or raise it as a cause."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(slots=True)
class Bounds:
    """What the call of this thread may take."""

    until: float
    """When it must be over, on the monotonic clock."""
    most_bytes: int
    """The longest body of an answer."""
    key: str | None = None
    """The key, which is added below the clients: nothing of theirs can show it."""
    cancelled: threading.Event | None = None
    """Is set when nobody wants the answer any more: the call ends within `LOOK_S`."""
    is_complete: bool = False
    """Whether the answer is there, and only the end of its body is outstanding."""

    def left_s(self) -> float:
        """Seconds until it must be over; negative afterwards."""
        return self.until - time.monotonic()

    def require_wanted(self) -> None:
        """Raise CallEnded when nobody wants the answer any more."""
        if self.cancelled is not None and self.cancelled.is_set() and not self.is_complete:
            reason = "nobody wants it any more"
            raise CallEnded(CallFailure(kind="cancelled", reason=reason, is_temporary=False))

    def end_within(self, seconds: float) -> None:
        """Let it be over after so many seconds, if not before."""
        self.until = min(self.until, time.monotonic() + seconds)


_bounds: ContextVar[Bounds] = ContextVar("bounds")


def current_bounds() -> Bounds:
    """Those of the call that this thread makes."""
    return _bounds.get()


@contextmanager
def bounded(bounds: Bounds) -> Iterator[None]:
    """Lay bounds on the call that is made inside."""
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)
