"""`models evaluate` of labelled rows, as a process, against the same of an older checkout."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.engine.bars import EVALUATE
from benchmarks.engine.systems import ROOT
from benchmarks.engine.table import Report, Row
from benchmarks.engine.workload import labelled_rows
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

ROWS = 1000


def measure(
    here: Project,
    base: LocalBase,
    adapter: Path,
    *,
    before: Path | None,
    folder: Path,
    repeats: int,
    report: Report,
) -> list[Row]:
    """How many times as fast as the code in the checkout `before`."""
    if before is None:
        return [EVALUATE.left_out("--before was not given")]
    project = make_project(here, base, adapter, folder)
    taken: dict[Path, list[float]] = {ROOT: [], before: []}
    for repeat in range(1, repeats + 1):
        for code, seconds in taken.items():
            command = ["evaluate", "--adapter", "bench@1", "--dataset", "labelled"]
            seconds.append(run(code, project, *command, "--answers", str(ROWS)))
            report(f"repeat {repeat}: models evaluate of {code}: {seconds[-1]:.1f} s")
    ours, then = (statistics.median(seconds) for seconds in taken.values())
    return [EVALUATE.measured(then / ours, f"{ours:.1f} s, before {then:.1f} s")]


def make_project(here: Project, base: LocalBase, adapter: Path, folder: Path) -> Project:
    """A project with the adapter as a version, and a dataset of labelled rows."""
    project = Project(folder)
    for place in (folder / "configs", project.base_card(base.name).parent):
        place.mkdir(parents=True)
    project.base_card(base.name).write_text(here.base_card(base.name).read_text())
    data = project.dataset("labelled")
    data.mkdir(parents=True)
    lines = list(labelled_rows(here, ROWS))
    (data / "eval.jsonl").write_text("\n".join(lines) + "\n")
    (data / "train.jsonl").write_text(
        '{"prompt": "What is the colour of a ripe lemon?", "completion": "Yellow."}\n'
    )
    run(
        ROOT, project, "adapters", "import", str(adapter), "--name", "bench",
        "--base-model", base.name,
    )  # fmt: skip
    return project


def run(code: Path, project: Project, *words: str) -> float:
    """Seconds of a `models` command of the code in a checkout. Raises SystemExit when it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(code / "src"), "MODELS_PROJECT": str(project.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"models {' '.join(words)} of {code} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began
