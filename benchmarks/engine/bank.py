"""What 64 adapters on one base cost: memory, and the speed of rows that use none of them."""

from __future__ import annotations

from benchmarks.engine.bars import RESIDENT, RESIDENT_MEMORY
from benchmarks.engine.speed import measure_speeds
from benchmarks.engine.systems import System
from benchmarks.engine.table import Report, Row
from benchmarks.engine.workload import Prompts


def measure(
    bare: System, full: System, prompts: Prompts, *, rounds: int, report: Report
) -> list[Row]:
    """Both rows. `full` holds all adapters and answers with each of them before it is measured."""
    count = len(full.ask("adapters")["bytes"])
    for first in range(0, count, 8):
        full.ask(
            "answer",
            prompts=prompts.take(8, round_number=first),
            adapters=list(range(first, first + 8)),
            new_tokens=4,
        )
    systems = {bare.name: bare, full.name: full}
    cases = (RESIDENT.ours, RESIDENT.other)
    speeds = measure_speeds(systems, cases, prompts, rounds=rounds, report=report)
    base, held = (system.ask("memory")["bytes"] for system in (bare, full))
    adapters = sum(full.ask("adapters")["bytes"])
    more = held - base - 1.3 * adapters
    return [
        RESIDENT.row(speeds),
        RESIDENT_MEMORY.measured(
            more / 1e6,
            f"{held / 1e6:,.0f} MB, base {base / 1e6:,.0f}, adapters {adapters / 1e6:,.0f}",
        ),
    ]
