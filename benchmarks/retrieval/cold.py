"""`models search` as a process that starts from nothing, on 10,000 chunks.

python -m benchmarks.retrieval.cold
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from benchmarks.retrieval.processes import models
from benchmarks.retrieval.projects import (
    INDEX,
    directions,
    make_project,
    real_fingerprint,
    write_index,
)
from benchmarks.retrieval.prose import python_sources, windows
from benchmarks.retrieval.table import Row, report

BAR_S = 0.8
CHUNKS = 10_000
RUNS = 11
HEAVY = ("torch", "transformers", "sentence_transformers")
_QUERIES = (
    "how do I roll back an adapter",
    "read a file line by line",
    "wait until another process is done",
    "parse the date of a header",
    "what happens when the disk is full",
)


def measure(text: Sequence[Path], *, chunks: int = CHUNKS, runs: int = RUNS) -> list[Row]:
    """The median of some runs, and what they import."""
    with tempfile.TemporaryDirectory(prefix="bench-cold-") as place:
        project, index = make_project(Path(place))
        written = write_index(
            index,
            islice(windows(text), chunks),
            directions(chunks, index.encoder.dimensions, seed=1),
            fingerprint=real_fingerprint(project, index),
        )
        words = ["search", "--domain", INDEX]
        models(project.root, *words, _QUERIES[0])  # fills the disk cache
        times = [
            models(project.root, *words, _QUERIES[number % len(_QUERIES)]).seconds
            for number in range(runs)
        ]
        heavy = imported(project.root, [*words, _QUERIES[0]])
    median = statistics.median(times)
    return [
        Row(
            what=f"`models search` cold, as a process, {written:,} chunks",
            ours=f"{median:.2f} s ({min(times):.2f} to {max(times):.2f})",
            peer=f"imports {', '.join(heavy)}" if heavy else "no torch",
            bar=f"under {BAR_S} s, no torch",
            hit=median < BAR_S and not heavy,
        )
    ]


def imported(folder: Path, words: Sequence[str]) -> list[str]:
    """Which of the heavy libraries such a process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelyard", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, action="append", metavar="DIR")
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--runs", type=int, default=RUNS)
    asked = parser.parse_args()
    return report(measure(asked.text or python_sources(), chunks=asked.chunks, runs=asked.runs))


if __name__ == "__main__":
    sys.exit(main())
