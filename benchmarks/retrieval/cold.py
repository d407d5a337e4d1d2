"""`models search` as a process that starts from nothing, on 10,000 chunks.

It is compared with a process that only imports the libraries it needs, each run in turn.

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

from benchmarks.retrieval.processes import models, run
from benchmarks.retrieval.projects import (
    INDEX,
    directions,
    make_project,
    real_fingerprint,
    write_index,
)
from benchmarks.retrieval.prose import python_sources, windows
from benchmarks.retrieval.table import Row, report

BAR_TIMES = 2.2
CHUNKS = 10_000
RUNS = 11
NEEDED = "import numpy, onnxruntime, tokenizers"
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
        import_needed = [sys.executable, "-c", NEEDED]
        both = [
            (
                models(project.root, *words, _QUERIES[number % len(_QUERIES)]).seconds,
                run(import_needed, project.root).seconds,
            )
            for number in range(runs)
        ]
        heavy = imported(project.root, [*words, _QUERIES[0]])
    times = [searched for searched, _ in both]
    median = statistics.median(times)
    ratio = statistics.median(searched / imported for searched, imported in both)
    return [
        Row(
            what=f"`models search` cold, as a process, {written:,} chunks",
            ours=f"{median:.2f} s ({min(times):.2f} to {max(times):.2f})",
            peer=f"`{NEEDED}` {statistics.median(imported for _, imported in both):.2f} s; "
            + (f"imports {', '.join(heavy)}" if heavy else "no torch"),
            ratio=f"{ratio:.1f}",
            bar=f"at most {BAR_TIMES}, no torch",
            hit=ratio <= BAR_TIMES and not heavy,
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
