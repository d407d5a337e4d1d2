"""The wish to stop, from a signal to the training loop. Knows neither."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StopRequest:
    """Set by a signal: finish the step, write a checkpoint, stop."""

    asked: bool = False
