"""Predicted against real peaks of memory, on settings that differ: `make bench-memory`.

Each run is `models fine-tune` as its own process for a few steps, in a project of its own; the run
records what preflight predicted and the most that the process held. Prints a table, and exits 1
when a prediction misses by more than the bar.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from modelyard.core.layout import find_project
from modelyard.core.progress import Silent
from modelyard.weights.pull import require_base

BAR = 0.15
STEPS = 4
SETTINGS = {
    "defaults": {},
    "256 tokens a batch": {"schedule.tokens_per_batch": 256},
    "4,096 tokens a batch": {"schedule.tokens_per_batch": 4096, "schedule.rows_per_step": 64},
    "fp32": {"compute.precision": "fp32"},
    "rank 128": {"lora.rank": 128, "lora.alpha": 256},
    "recomputed activations": {
        "compute.checkpointing": "always",
        "schedule.tokens_per_batch": 4096,
        "schedule.rows_per_step": 64,
    },
    "dropout": {"lora.dropout": 0.1},
    "stock kernels": {"compute.fast_path": False},
    "two targets": {"lora.targets": "[q_proj, v_proj]"},
}


def run(settings: dict[str, object], folder: Path) -> dict[str, int]:
    """The prediction and the peak of one run, in bytes."""
    here = find_project(Path(__file__).parent.parent)
    base = require_base(here, "smollm2-135m-instruct", progress=Silent())
    for name in ("configs", f"models/base/{base.name}"):
        (folder / name).mkdir(parents=True)
    (folder / f"models/base/{base.name}/MODEL_INFO.md").write_text(
        here.base_card(base.name).read_text()
    )
    chosen = {
        "schedule.max_steps": STEPS,
        "keep.evaluate_every_steps": "never",
        "keep.checkpoint_every_steps": STEPS,
        **settings,
    }
    command = [str(Path(sys.executable).with_name("models")), "fine-tune"]
    command += ["--dataset", str(here.dataset("techcorp")), "--experiment", "bench"]
    for key, value in chosen.items():
        command += ["--set", f"{key}={value}"]
    environment = {**os.environ, "MODELS_PROJECT": str(folder)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    record = folder / "experiments/bench/run.json"
    if ended.returncode or not record.exists():
        raise SystemExit(f"{' '.join(command)}\n{ended.stderr}")
    found: dict[str, int] = json.loads(record.read_text())["memory_bytes"]
    return found


def main() -> int:
    worst = 0.0
    print("| settings | predicted MB | real MB | off by |\n|---|---|---|---|")
    for name, settings in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = run(settings, Path(folder))
        off = found["predicted"] / found["measured"] - 1
        worst = max(worst, abs(off))
        print(
            f"| {name} | {found['predicted'] / 1e6:,.0f} | {found['measured'] / 1e6:,.0f} "
            f"| {off:+.0%} |",
            flush=True,
        )
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
