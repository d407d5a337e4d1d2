"""Rows of the table: what was measured, beside its peer and its bar, and on which machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADS = ("what", "ours", "peer", "ratio", "bar", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured."""

    what: str
    """What it is."""
    ours: str
    """What this project gives, with its unit."""
    peer: str = ""
    """What it is compared with, and what that gives."""
    ratio: str = ""
    """How many times better or worse than the peer."""
    bar: str = ""
    """What was asked for."""
    hit: bool | None = None
    """Whether the bar was reached; None: nothing was measured."""

    @property
    def cells(self) -> tuple[str, ...]:
        """One text for each column."""
        verdict = {True: "hit", False: "missed", None: "" if self.ours else "left out"}[self.hit]
        return self.what, self.ours, self.peer, self.ratio, self.bar, verdict


def left_out(what: str, why: str) -> Row:
    """A measure for which something was not given."""
    return Row(what=what, ours="", peer=why)


def render_text(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal."""
    lines = [HEADS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def render_markdown(rows: Sequence[Row]) -> str:
    """The same as a table of a document."""
    lines = [HEADS, ("---",) * len(HEADS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe_machine() -> str:
    """CPU model, cores, load and Python, in one line."""
    cores = len(os.sched_getaffinity(0))
    load = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return f"{_cpu_model()}, {cores} cores, load {load}, Python {platform.python_version()}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def report(rows: Sequence[Row]) -> int:
    """Print the table; 1 when a bar was missed, for the exit code."""
    print(render_text(rows))
    return int(any(row.hit is False for row in rows))
