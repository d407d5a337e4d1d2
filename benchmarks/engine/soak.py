"""Whether memory stays flat under mixed load: `python -m benchmarks.engine --soak MINUTES`."""

from __future__ import annotations

import statistics
import time

from benchmarks.engine.systems import System
from benchmarks.engine.table import Report
from benchmarks.engine.workload import Prompts

_ASKED_S = 10
_FLAT = 0.05
"""Growth from the third quarter of the time to the last that counts as none."""


def soak(engine: System, prompts: Prompts, *, minutes: float, report: Report) -> bool:
    """Whether the process's memory was flat in the second half of the time."""
    ends = time.monotonic() + 60 * minutes
    sizes: list[int] = []
    answers = promotions = 0
    while time.monotonic() < ends:
        found = engine.ask("load", prompts=prompts.every, seconds=_ASKED_S, seed=len(sizes))
        answers += found["answers"]
        promotions += found["promotions"]
        sizes.append(engine.ask("memory")["bytes"])
        report(f"{answers} answers, {promotions} promotions, {sizes[-1] / 1e6:,.0f} MB")
    half, quarter = len(sizes) // 2, max(1, len(sizes) // 4)
    early, late = (
        statistics.median(sizes[half : half + quarter]),
        statistics.median(sizes[-quarter:]),
    )
    growth = late / early - 1
    print(
        f"{minutes:g} minutes, {answers:,} answers, {promotions:,} promotions and rollbacks: "
        f"{sizes[0] / 1e6:,.0f} MB after {_ASKED_S} s, {early / 1e6:,.0f} MB in the third quarter, "
        f"{late / 1e6:,.0f} MB in the last ({growth:+.1%})"
    )
    return growth <= _FLAT
