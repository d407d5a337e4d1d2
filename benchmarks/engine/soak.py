"""Whether memory stays flat under mixed load: `python -m benchmarks.engine --soak MINUTES`."""

from __future__ import annotations

import statistics
import time

from benchmarks.engine.systems import System
from benchmarks.engine.table import Report
from benchmarks.engine.workload import Prompts

_ASKED_S = 10
_SETTLING = 0.2
"""The share of the time in which caches may still fill."""
_FLAT_BYTES = 16e6
"""Growth after that which counts as none."""


def soak(engine: System, prompts: Prompts, *, minutes: float, report: Report) -> bool:
    """Whether the process's memory was flat once its caches had filled."""
    ends = time.monotonic() + 60 * minutes
    sizes: list[int] = []
    answers = 0
    while time.monotonic() < ends:
        found = engine.ask("load", prompts=prompts.every, seconds=_ASKED_S, seed=len(sizes))
        answers += found["answers"]
        sizes.append(engine.ask("memory")["bytes"])
        report(f"{answers} answers, {sizes[-1] / 1e6:,.0f} MB")
    settled = sizes[int(_SETTLING * len(sizes)) :]
    part = max(1, len(settled) // 4)
    early, late = statistics.median(settled[:part]), statistics.median(settled[-part:])
    print(
        f"{minutes:g} minutes, {answers:,} answers: {sizes[0] / 1e6:,.0f} MB after "
        f"{_ASKED_S} s, {early / 1e6:,.0f} MB once caches had filled, {late / 1e6:,.0f} MB at the "
        f"end ({(late - early) / 1e6:+,.1f} MB)"
    )
    return late - early <= _FLAT_BYTES
