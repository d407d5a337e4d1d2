"""The parts of the table that need only a base, prompts and adapters: on a CPU or a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import bank, latency
from benchmarks.engine.bars import BESIDE, MIXED_ADAPTERS, RATIOS
from benchmarks.engine.speed import measure_speeds, render_speeds
from benchmarks.engine.systems import Command, System
from benchmarks.engine.table import Report, Row
from benchmarks.engine.workload import Prompts

_PYTHON = Path(sys.executable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One base, with what is asked of it."""

    base: Path
    """The folder of its weights."""
    setting: str
    """bf16 or fp32, or 4bit or 8bit on a GPU."""
    prompts: Prompts
    """About 50 tokens each."""
    long_prompts: Sequence[Sequence[int]]
    """1,024 tokens each."""
    adapters: Sequence[Path]
    """All adapters; the first eight are mixed."""
    peers: Mapping[str, Command]
    """Systems in other environments."""
    rounds: int
    """How often each figure is measured."""
    report: Report
    """Takes a line of progress."""

    @property
    def parts(self) -> dict[str, Callable[[], list[Row]]]:
        """Each part's measurement, by its name."""
        return {
            "speed": self.measure_speed,
            "latency": self.measure_latency,
            "bank": self.measure_bank,
        }

    def engine(self, adapters: Sequence[Path], name: str = "engine") -> System:
        """This project's engine in a process of its own, with these adapters loaded."""
        return System(name, self._engine(adapters))

    def _engine(self, adapters: Sequence[Path]) -> Command:
        module = "benchmarks.engine.this_project"
        return (_PYTHON, module, self.base, self.setting, *adapters)

    def measure_speed(self) -> list[Row]:
        """Tokens a second beside the peers."""
        mixed = self.adapters[:MIXED_ADAPTERS]
        stock = "benchmarks.engine.peer_transformers"
        commands: dict[str, Command] = {
            "engine": self._engine(mixed),
            "transformers": (_PYTHON, stock, self.base, self.setting),
            "PEFT": (_PYTHON, stock, self.base, self.setting, *mixed),
            **self.peers,
        }
        with ExitStack() as stack:
            systems = {}
            for name, command in commands.items():
                systems[name] = stack.enter_context(System(name, command))
                self.report(f"{name}: {systems[name].start_s:.1f} s to start")
            cases = [case for ratio in RATIOS for case in (ratio.ours, ratio.other)]
            speeds = measure_speeds(
                systems, [*cases, *BESIDE], self.prompts, rounds=self.rounds, report=self.report
            )
        print(render_speeds(speeds) + "\n")
        return [ratio.row(speeds) for ratio in RATIOS]

    def measure_latency(self) -> list[Row]:
        """Waiting for the next token, and for the first."""
        with self.engine(()) as engine:
            joining = latency.measure_joining(
                engine,
                self.prompts,
                self.long_prompts,
                repeats=2 * self.rounds,
                report=self.report,
            )
            cold = latency.measure_cold_adapters(
                engine, self.prompts, self.adapters[:MIXED_ADAPTERS], report=self.report
            )
        return [*joining, cold]

    def measure_bank(self) -> list[Row]:
        """What many adapters cost those that use none."""
        with (
            self.engine((), "engine without adapters") as bare,
            self.engine(self.adapters, "engine with 64 adapters") as full,
        ):
            return bank.measure(bare, full, self.prompts, rounds=self.rounds, report=self.report)
