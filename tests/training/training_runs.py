"""Small runs of the main job: rows, settings, and `models` in this process or in its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from modelyard.core.layout import Project
from modelyard.core.progress import Silent

if TYPE_CHECKING:
    from modelyard.training.spec import FineTuneSpec

FLOWERS = ["rose", "tulip", "lily", "daisy", "iris", "peony", "aster", "lotus"]


def flower_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Distinct questions about flowers, each with a short answer."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is number {n} called?"},
                {"role": "assistant", "content": f"It is a {FLOWERS[n % len(FLOWERS)]}."},
            ]
        }
        for n in range(start, start + count)
    ]


QUICK = (
    "schedule.epochs=2",
    "schedule.rows_per_step=8",
    "schedule.learning_rate=5e-3",
    "lora.rank=4",
    "compute.precision=fp32",
    "compute.threads=1",
    "keep.checkpoint_every_steps=2",
)


@dataclass(frozen=True)
class Ended:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def arguments(*more: str, settings: tuple[str, ...] = ()) -> list[str]:
    """`fine-tune` on the flowers with a run of six steps, or with other settings."""
    chosen = [part for setting in (*QUICK, *settings) for part in ("--set", setting)]
    return ["fine-tune", "--dataset", "flowers", "--base-model", "tiny", *chosen, *more]


def flowers_spec() -> FineTuneSpec:
    """The same run, for a call in this process."""
    from modelyard.training.spec import load_spec

    flags = {"dataset": "flowers", "base_model": "tiny"}
    return load_spec(config=None, assignments=list(QUICK), flags=flags)


def run_here(*words: str) -> Ended:
    """`models ...` in this process."""
    from modelyard.cli.app import app

    ended = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def start_process(*words: str) -> subprocess.Popen[str]:
    """`models ...` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def cut_off(stage: str, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the flowers in this process that ends before a stage of training/run.py."""
    from modelyard.training import run

    class Cut(Exception):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(run, stage, cut)
        run.fine_tune(project, flowers_spec(), progress=Silent())
