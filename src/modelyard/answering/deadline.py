"""The time for a whole answer: all calls, waits and repetitions, without the loading of models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """The time that an answer may take, and what it has taken; threads may share it.

    seconds: None where only its calls are limited.
    clock: seconds that only grow.
    """

    def __init__(
        self, seconds: float | None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.load_s = 0.0
        """Seconds in which a model was loaded: they are not counted."""
        self._clock = clock
        self._started = clock()

    @property
    def passed_s(self) -> float:
        """Seconds since it began, without `load_s`."""
        return max(0.0, self._clock() - self._started - self.load_s)

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0; infinite without a limit."""
        return max(0.0, self.seconds - self.passed_s)

    def leave_out(self, load_s: float) -> None:
        """Do not count so many seconds that loading a model has just taken."""
        self.load_s += load_s
