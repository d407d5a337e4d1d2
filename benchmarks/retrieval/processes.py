"""The commands as a person runs them: each a process of its own, timed from start to end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(sys.executable).with_name("models")


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well."""

    seconds: float
    """From its start to its end."""
    stdout: str
    """What it printed."""


def run(command: Sequence[str | Path], folder: Path) -> Ended:
    """Run it there. Raises SystemExit with its last words when it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return Ended(seconds, done.stdout)


def models(folder: Path, *words: str) -> Ended:
    """A `models` command in a project."""
    return run([MODELS, *words], folder)
