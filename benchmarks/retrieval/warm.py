"""Searches by one Searcher that stays open, on 100,000 chunks, the query's encoding included.

python -m benchmarks.retrieval.warm
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.retrieval.projects import (
    INDEX,
    directions,
    make_project,
    real_fingerprint,
    write_index,
)
from benchmarks.retrieval.prose import load_queries, python_sources, windows
from benchmarks.retrieval.table import Row, report
from modelyard.retrieval.search import Searcher

P50_MS, P99_MS = 20.0, 60.0
CHUNKS = 100_000
QUERIES = 500
WARM_UP = 20


def measure(
    text: Sequence[Path],
    sets: Sequence[Path] = (),
    *,
    chunks: int = CHUNKS,
    queries: int = QUERIES,
) -> list[Row]:
    """Median and 99th percentile of distinct queries, each asked once; the first 20 apart."""
    with tempfile.TemporaryDirectory(prefix="bench-warm-") as place:
        project, index = make_project(Path(place))
        texts = list(islice(windows(text), chunks))
        written = write_index(
            index,
            texts,
            directions(len(texts), index.encoder.dimensions, seed=1),
            fingerprint=real_fingerprint(project, index),
        )
        asked = load_queries(sets, texts, queries + WARM_UP)
        del texts
        times = _ask(Searcher(project), asked)
    first, rest = times[:WARM_UP], times[WARM_UP:]
    p50, p99 = np.percentile(rest, [50, 99])
    return [
        Row(
            what=f"search, warm, {written:,} chunks, {len(rest)} distinct queries",
            ours=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            peer=f"first {first[0]:.0f} ms, next {WARM_UP - 1}: p50 {np.median(first[1:]):.1f} ms",
            bar=f"p50 {P50_MS:.0f} ms, p99 {P99_MS:.0f} ms",
            hit=bool(p50 < P50_MS and p99 < P99_MS),
        )
    ]


def _ask(searcher: Searcher, queries: Sequence[str]) -> list[float]:
    """Milliseconds of each search."""
    times = []
    try:
        for query in queries:
            began = time.perf_counter()
            searcher.search(query, indexes=[INDEX])
            times.append(1000 * (time.perf_counter() - began))
    finally:
        searcher.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, action="append", metavar="DIR")
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    asked = parser.parse_args()
    return report(
        measure(
            asked.text or python_sources(),
            asked.data,
            chunks=asked.chunks,
            queries=asked.queries,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
