"""How long people wait: for the next token while others arrive, for the first of an adapter."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.bars import COLD_ADAPTER, JOINED_FIRST_TOKEN, LONGEST_GAP
from benchmarks.engine.systems import System
from benchmarks.engine.table import Report, Row
from benchmarks.engine.workload import Prompts

LONG_PROMPT = 1024
_RUNNING = 8


def measure_joining(
    engine: System,
    prompts: Prompts,
    long_prompts: Sequence[Sequence[int]],
    *,
    repeats: int,
    report: Report,
) -> list[Row]:
    """What a long prompt does to eight running answers of the base, and they to it."""
    figures = []
    for repeat in range(repeats + 1):
        joined, alone = (long_prompts[(2 * repeat + n) % len(long_prompts)] for n in range(2))
        running = prompts.take(_RUNNING, round_number=repeat)
        found = engine.ask("join", prompts=running, joining=joined)
        alone_s = engine.ask("first_token", prompt=alone)["seconds"]
        report(
            f"join {repeat}: longest gap {found['gap_s'] * 1e3:.0f} ms, median step "
            f"{found['step_s'] * 1e3:.0f} ms; first token {found['first_s'] * 1e3:.0f} ms, "
            f"alone {alone_s * 1e3:.0f} ms"
        )
        if repeat:  # the first fills caches and grows the memory
            figures.append((found["gap_s"], found["step_s"], found["first_s"], alone_s))
    gap, step, first, alone = (
        statistics.median(column) * 1e3 for column in zip(*figures, strict=True)
    )
    gaps = [row[0] / row[1] for row in figures]
    firsts = [row[2] / row[3] for row in figures]
    return [
        LONGEST_GAP.measured(statistics.median(gaps), f"{gap:.0f} / {step:.0f} ms"),
        JOINED_FIRST_TOKEN.measured(statistics.median(firsts), f"{first:.0f} / {alone:.0f} ms"),
    ]


def measure_cold_adapters(
    engine: System, prompts: Prompts, folders: Sequence[Path], *, report: Report
) -> Row:
    """Each adapter's first token when it is read for the first time, and once it is loaded."""
    pairs = []
    for number, folder in enumerate(folders):
        (prompt,) = prompts.take(1, round_number=number)
        cold, warm = (
            engine.ask("first_token", prompt=prompt, adapter=str(folder))["seconds"] * 1e3
            for _ in range(2)
        )
        report(f"adapter {number}: cold {cold:.0f} ms, warm {warm:.0f} ms")
        pairs.append((cold, warm))
    cold, warm = (statistics.median(column) for column in zip(*pairs, strict=True))
    more = statistics.median(cold - warm for cold, warm in pairs)
    return COLD_ADAPTER.measured(more, f"{cold:.0f} ms, warm {warm:.0f} ms")
