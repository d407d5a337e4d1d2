"""How the library reports what it is doing, without knowing about terminals.

The CLI gives a live display on a terminal and one line per stage in a log; tests give nothing.
"""

from __future__ import annotations


class Progress:
    """Receives the progress of a long job. Shown on stderr; results never are."""

    def stage(self, text: str) -> None:
        """A new stage began, such as `train: 72 steps of 16 rows`."""

    def warn(self, text: str) -> None:
        """A warning that does not stop the job."""

    def begin(self, label: str, total: float, unit: str) -> None:
        """A countable task starts: `total` of `unit` ("steps", "bytes")."""

    def advance(self, done: float, figures: str = "") -> None:
        """`done` of the total are finished now; `figures` such as `loss 1.23 · 540 tokens/s`."""

    def end(self) -> None:
        """The task is over."""


class Silent(Progress):
    """A Progress that shows nothing."""
