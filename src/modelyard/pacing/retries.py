"""When a call that failed is tried again, and when it is given up.

The waits grow exponentially and are drawn from all of their range ("full jitter"), so that clients
that failed together do not return together.
Source: Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from modelyard.pacing.pacer import Pacer, Pause, pause

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a call is tried."""

    attempts: int
    """Attempts altogether, the first included."""
    unreached_attempts: int
    """Attempts where nobody answers: the address may be wrong."""
    first_wait_s: float = 0.5
    """Longest wait before the second attempt; it doubles with each further one."""
    longest_wait_s: float = 40.0
    """Above this it doubles no more."""
    longest_asked_wait_s: float = 300.0
    """A service that asks for a longer wait than this is given up at once."""
    deadline_s: float | None = None
    """Time for everything together: turns, attempts and waits. None where nobody waits for it."""

    def wait_s(self, failure: Failure, attempt: int, *, left_s: float = math.inf) -> float | None:
        """Seconds before the next attempt, or None when the call is to be given up.

        attempt: the number of the attempt that failed, from 1.
        left_s: time until the deadline.
        """
        attempts = self.attempts if failure.answered else self.unreached_attempts
        if not failure.is_temporary or attempt >= attempts:
            return None
        doubled = math.ldexp(self.first_wait_s, min(attempt - 1, 100))
        wait_s = random.uniform(0, min(self.longest_wait_s, doubled))
        if failure.asked_wait_s is not None:
            if failure.asked_wait_s > self.longest_asked_wait_s:
                return None
            wait_s = failure.asked_wait_s + min(wait_s, self.first_wait_s)
        return wait_s if wait_s < left_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one attempt gave no result."""

    reason: str
    """In words, without secrets."""
    is_temporary: bool
    """Whether the same call may succeed later."""
    status: int | None = None
    """The HTTP status; None when there was no answer."""
    asked_wait_s: float | None = None
    """How long the service asks to wait."""

    @property
    def answered(self) -> bool:
        return self.status is not None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The last failure of a call that was given up."""

    failure: Failure
    attempts: int
    """How often it was sent; 0 when the limits left no room for it in time."""


def call_with_retries(
    call: Callable[[float], T | Failure],
    policy: RetryPolicy,
    pacer: Pacer,
    *,
    tokens: int,
    pause: Pause = pause,
) -> T | GaveUp:
    """The result of a call, sent when it is its turn and again while the policy allows it.

    call: one attempt. It is given the seconds left (inf without a deadline), as its own timeout.
    tokens: how many tokens each attempt has, against the limit of a minute.
    pause: waits; when it is ended early, the call is given up.
    """
    until = math.inf if policy.deadline_s is None else pacer.clock() + policy.deadline_s
    attempt = 0
    failure = Failure(reason="its limits leave no room for a request yet", is_temporary=True)
    while pacer.take_turn(tokens, within_s=until - pacer.clock(), pause=pause):
        attempt += 1
        try:
            result = call(until - pacer.clock())
        finally:
            pacer.end_turn()
        if not isinstance(result, Failure):
            return result
        failure = result
        wait_s = policy.wait_s(failure, attempt, left_s=until - pacer.clock())
        if wait_s is None:
            break
        if failure.asked_wait_s is not None:
            pacer.hold(failure.asked_wait_s)
        if pause(wait_s):
            break
    return GaveUp(failure, attempt)
