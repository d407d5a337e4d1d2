"""Predicted against real peaks of memory, on settings that differ: `make bench-memory`.

    python benchmarks/memory.py [--half fitted|reported] [--only TEXT]

Each run is `models fine-tune` as its own process for a few steps, in a project of its own, up to
the registered version; the run records what preflight predicted, and the system tells the most that
the process held. Prints a table for each half of `memory_grid.py`, and exits 1 when a prediction of
the reported half misses by more than the bars.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from memory_grid import FITTED, REPORTED, SHAPES, Setting, build_base, build_rows
from modelyard.chatdata.dataset import load_dataset
from modelyard.core.layout import find_project
from modelyard.core.peak_memory import peak_memory_bytes
from modelyard.core.progress import Silent
from modelyard.weights.pull import require_base

BAR, BAR_BELOW = 0.15, 0.05
"""How far a prediction may be from the real peak, and below it."""


@dataclass(frozen=True)
class Peak:
    """What was predicted and what it was, in bytes."""

    predicted: int
    training: int
    """The most until training ended."""
    whole: int
    """The most of the whole run, with evaluation and registration."""

    @property
    def off_by(self) -> float:
        return self.predicted / self.whole - 1

    @property
    def holds(self) -> bool:
        return -BAR_BELOW <= self.off_by <= BAR


class Bench:
    """The bases and the texts that all runs share."""

    def __init__(self, folder: Path) -> None:
        here = find_project(Path(__file__).parent.parent)
        self._embedded = require_base(here, "smollm2-135m-instruct", progress=Silent()).path
        rows = load_dataset(here, "techcorp").train
        self._texts = [str(turn.content) for row in rows for turn in row.messages]
        self._folder = folder

    def _base(self, name: str) -> Path:
        if name == "embedded":
            return self._embedded
        folder = self._folder / "bases" / name.replace(" ", "-")
        if not folder.exists():
            # Not here: this process would hold the base's memory while runs are measured.
            building = get_context("spawn").Process(
                target=build_base, args=(SHAPES[name], self._embedded, folder)
            )
            building.start()
            building.join()
        return folder

    def run(self, setting: Setting) -> Peak:
        """One run in a project of its own."""
        base = self._base(setting.base)
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            project = Path(name)
            for folder in ("configs", "models/base/bench", "datasets/bench"):
                (project / folder).mkdir(parents=True)
            (project / "models/base/bench/MODEL_INFO.md").write_text(
                "---\nname: bench\nsummary: bench\nparameters: 1\nlicence: none\n"
                f"context_length: 8192\nsources:\n  - kind: path\n    path: {base}\n---\n"
            )
            sides = zip(("train", "eval"), build_rows(setting, self._texts, base), strict=True)
            for side, rows in sides:
                (project / f"datasets/bench/{side}.jsonl").write_text(
                    "".join(json.dumps(row) + "\n" for row in rows)
                )
            command = [str(Path(sys.executable).with_name("models")), "fine-tune"]
            command += ["--dataset", "bench", "--base-model", "bench"]
            for key, value in setting.assignments.items():
                command += ["--set", f"{key}={value}"]
            with (project / "log").open("w+") as log:
                environment = {**os.environ, "MODELS_PROJECT": str(project)}
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
                whole = watch(process)
                if process.returncode:
                    raise SystemExit(f"{' '.join(command)}\n{(project / 'log').read_text()}")
            memory = json.loads((project / "experiments/bench/run.json").read_text())[
                "memory_bytes"
            ]
        return Peak(memory["predicted"], memory["measured"], whole)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; the most memory that it held, in bytes."""
    most = 0
    while process.poll() is None:
        with suppress(ValueError, OSError):  # it may end meanwhile
            most = max(most, peak_memory_bytes(str(process.pid)))
        time.sleep(0.02)
    return most


def show(name: str, settings: Sequence[Setting], bench: Bench) -> list[Peak]:
    """Run the settings and print their table."""
    print(f"\n| {name} | predicted MB | real MB | off by |\n|---|---:|---:|---:|")
    peaks = []
    for setting in settings:
        peaks.append(peak := bench.run(setting))
        print(
            f"| {setting.name} | {peak.predicted / 1e6:,.0f} | {peak.whole / 1e6:,.0f} "
            f"| {peak.off_by:+.0%} |",
            flush=True,
        )
    return peaks


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", choices=["fitted", "reported"])
    parser.add_argument("--only", default="", help="settings with this text in their name")
    arguments = parser.parse_args()
    halves = {"fitted": FITTED, "reported": REPORTED}
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for half, settings in halves.items():
            if arguments.half in (None, half):
                chosen = [setting for setting in settings if arguments.only in setting.name]
                peaks = show(half, chosen, bench)
                missed += half == "reported" and not all(peak.holds for peak in peaks)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
