"""Tokens a second of every system on the same prompts, in interleaved rounds, and their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.engine.quiet import CpuWatch
from benchmarks.engine.systems import Batch, System
from benchmarks.engine.table import Bar, Report, Row
from benchmarks.engine.workload import Prompts

NEW_TOKENS = 64
_WARM_UP_TOKENS = 4

Adapters = Literal["base", "1 adapter", "8 adapters"]
_ADAPTERS: Mapping[Adapters, Sequence[int | None]] = {
    "base": (None,),
    "1 adapter": (0,),
    "8 adapters": tuple(range(8)),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A system at a number of prompts at a time."""

    system: str
    adapters: Adapters
    rows: int

    def batch(self, prompts: Prompts, round_number: int, *, new_tokens: int = NEW_TOKENS) -> Batch:
        """Its prompts in a round, and the adapter of each in turn."""
        chosen = _ADAPTERS[self.adapters]
        return Batch(
            prompts=prompts.take(self.rows, round_number=round_number),
            adapters=[chosen[place % len(chosen)] for place in range(self.rows)],
            new_tokens=new_tokens,
        )

    def __str__(self) -> str:
        return f"{self.system}, {self.adapters}, at {self.rows}"


def render_speeds(speeds: Mapping[Case, Sequence[float]]) -> str:
    """The medians of all cases in a Markdown table, a column for each number of rows."""
    sizes = sorted({case.rows for case in speeds})
    lines = [("tokens/s", *(f"at {size}" for size in sizes)), ("---",) * (1 + len(sizes))]
    for system, adapters in dict.fromkeys((case.system, case.adapters) for case in speeds):
        found = [speeds.get(Case(system, adapters, size)) for size in sizes]
        cells = (f"{statistics.median(each):.0f}" if each else "" for each in found)
        lines.append((f"{system}, {adapters}", *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A bar on the speed of one case divided by that of another."""

    bar: Bar
    ours: Case
    other: Case

    def row(self, speeds: Mapping[Case, Sequence[float]]) -> Row:
        """The median of the ratios of each round: both were measured seconds apart."""
        missing = [case.system for case in (self.ours, self.other) if case not in speeds]
        if missing:
            return self.bar.left_out(f"{missing[0]} was not given")
        pairs = list(zip(speeds[self.ours], speeds[self.other], strict=True))
        ratios = sorted(ours / other for ours, other in pairs)
        ours, other = (statistics.median(speeds[case]) for case in (self.ours, self.other))
        return self.bar.measured(
            statistics.median(ratios),
            f"{ours:.0f} / {other:.0f} tokens/s, rounds {ratios[0]:.2f} to {ratios[-1]:.2f}",
        )


def measure_speeds(
    systems: Mapping[str, System],
    cases: Sequence[Case],
    prompts: Prompts,
    *,
    rounds: int,
    report: Report,
) -> dict[Case, list[float]]:
    """Tokens a second of each case in each round; cases of systems that are not there are left out.

    Every round runs all cases one after the other, so a slow minute of the machine meets them all.
    """
    present = [case for case in dict.fromkeys(cases) if case.system in systems]
    for case in present:
        systems[case.system].tokens_per_s(case.batch(prompts, 0, new_tokens=_WARM_UP_TOKENS))
    speeds: dict[Case, list[float]] = {case: [] for case in present}
    for round_number in range(1, rounds + 1):
        for case in present:
            system = systems[case.system]
            batch = case.batch(prompts, round_number)
            with CpuWatch(system.pid) as watch:
                speed = system.tokens_per_s(batch)
            speeds[case].append(speed)
            report(f"round {round_number}: {case}: {speed:.1f} tokens/s{watch.warning()}")
    return speeds
