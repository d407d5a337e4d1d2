"""Searches by one Searcher that stays open, the query's encoding included.

python -m benchmarks.retrieval.warm

Once over three indexes together, with links between them, and once over one large index. Each query
is new, and is compared with what cannot be left out: its encoding, and in one index the exact
product of its vector with all others, as numpy computes it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.retrieval.projects import (
    directions,
    make_project_of_several,
    real_fingerprint,
    write_index,
)
from benchmarks.retrieval.prose import load_queries, python_sources, windows
from benchmarks.retrieval.table import Row, report
from modelyard.core.progress import Silent
from modelyard.encoders import Encoders
from modelyard.retrieval.search import Searcher

P50_MS, P99_MS = 20.0, 60.0
CHUNKS = 100_000
QUERIES = 300
WARM_UP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds of distinct queries, each asked once; the first 20 apart."""

    search: np.ndarray
    """Of the searches [q]."""
    encoder: np.ndarray
    """Of encoding each query alone [q]."""
    product: np.ndarray
    """Of numpy's product of its vector with all, float32, in one table [q]."""
    first: float
    """Of the first search of all."""

    @property
    def p50(self) -> float:
        return float(np.median(self.search))

    @property
    def shown(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {np.percentile(self.search, 99):.1f} ms"


def measure(
    text: Sequence[Path],
    sets: Sequence[Path] = (),
    *,
    chunks: int = CHUNKS,
    queries: int = QUERIES,
) -> list[Row]:
    """Three indexes with three tenths of the chunks each, and one with all of them."""
    each = 3 * chunks // 10
    three = _time(text, sets, [each] * 3, queries)
    one = _time(text, sets, [chunks], queries)
    of_encoder = three.p50 / float(np.median(three.encoder))
    least = float(np.median(one.encoder + one.product))
    return [
        Row(
            what=f"search, warm, 3 indexes of {each:,} chunks, links included",
            ours=three.shown,
            peer=f"the encoder alone p50 {np.median(three.encoder):.1f} ms",
            ratio=f"{of_encoder:.2f}",
            bar="at most 2",
            hit=of_encoder <= 2,
        ),
        Row(
            what=f"search, warm, {chunks:,} chunks in one index",
            ours=f"{one.shown}; the first {one.first:.0f} ms",
            peer=f"encoder and exact product in numpy p50 {least:.1f} ms",
            ratio=f"{one.p50 / least:.2f}",
            bar=f"at most 2.5; p50 {P50_MS:.0f} ms, p99 {P99_MS:.0f} ms when quiet",
            hit=one.p50 <= 2.5 * least and one.p50 <= P50_MS,
        ),
    ]


def _time(text: Sequence[Path], sets: Sequence[Path], sizes: Sequence[int], queries: int) -> Times:
    names = [f"notes{number}" for number in range(len(sizes))]
    with tempfile.TemporaryDirectory(prefix="bench-warm-") as place:
        project, indexes = make_project_of_several(Path(place), names)
        texts = list(islice(windows(text), sum(sizes)))
        dimensions = indexes[0].encoder.dimensions
        vectors = directions(len(texts), dimensions, seed=1)
        place_of = 0
        for index, size in zip(indexes, sizes, strict=True):
            some = slice(place_of, place_of + size)
            fingerprint = real_fingerprint(project, index)
            write_index(index, texts[some], vectors[some], fingerprint=fingerprint)
            place_of += size
        asked = load_queries(sets, texts, queries + WARM_UP)
        encoder = Encoders(project=project, progress=Silent()).open(indexes[0].encoder)
        rows: list[tuple[float, float, float]] = []
        with closing(Searcher(project)) as searcher:
            for query in asked:
                began = time.perf_counter()
                searcher.search(query, indexes=[index.label for index in indexes])
                searched = time.perf_counter()
                vector = encoder.encode_query(query)
                encoded = time.perf_counter()
                vectors @ vector
                done = time.perf_counter()
                rows.append((searched - began, encoded - searched, done - encoded))
    times = 1000 * np.array(rows)
    kept = times[WARM_UP:].T
    return Times(search=kept[0], encoder=kept[1], product=kept[2], first=float(times[0, 0]))


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
