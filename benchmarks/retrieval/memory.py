"""A million chunks: memory while they are indexed, and how fast and right the search then is.

    python -m benchmarks.retrieval.memory --folder /a/disk/with/6/GB

Vectors are random and texts made up; both go through what every update uses. Indexing is a process
of its own, whose highest memory is taken. Searches encode their queries with the real encoder. The
dense side is compared with the exact cosines of the vectors as they were, in float32.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import islice, product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.retrieval.processes import run
from benchmarks.retrieval.projects import (
    INDEX,
    directions,
    make_project,
    real_fingerprint,
    write_index,
)
from benchmarks.retrieval.table import Row, report
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_snapshot import OpenedIndex
from modelyard.retrieval.ranking import CODE, rank
from modelyard.retrieval.search import Searcher

CHUNKS = 1_000_000
MOST_BYTES = 2_000_000_000
P50_MS = 100.0
LEAST_RECALL = 0.98
QUERIES = 50
_WARM_UP = 5
_BLOCK = 4_096
_DEPTH = 200
"""Candidates of each side, as configs/embedding_models/semantic_search.yaml has them."""
_WORDS = 50_000
_WORDS_OF_A_CHUNK = 60
_MANDELBROT = 50
"""With this a sixth of the chunks have the most frequent word, as for a frequent word of prose."""

Vectors = npt.NDArray[np.float32]


def measure(*, chunks: int = CHUNKS, folder: Path | None = None) -> list[Row]:
    """Rows for indexing, for the search and for its dense side."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-", dir=folder) as place:
        built = _in_a_process("build", place, chunks)
        asked = _in_a_process("ask", place, chunks)
    return [
        Row(
            what=f"memory while indexing {chunks:,} chunks",
            ours=f"{built['peak_bytes'] / 1e6:,.0f} MB",
            peer=f"{built['chunks_per_s']:,.0f} chunks/s, "
            f"index {built['index_bytes'] / 1e6:,.0f} MB",
            bar=f"under {MOST_BYTES / 1e6:,.0f} MB",
            hit=built["peak_bytes"] < MOST_BYTES,
        ),
        Row(
            what=f"search in {chunks:,} chunks, {QUERIES} queries",
            ours=f"p50 {asked['p50_ms']:.0f} ms",
            peer=f"p99 {asked['p99_ms']:.0f} ms, opened in {asked['opened_s']:.1f} s, "
            f"{asked['peak_bytes'] / 1e6:,.0f} MB",
            bar=f"p50 under {P50_MS:.0f} ms",
            hit=asked["p50_ms"] < P50_MS,
        ),
        Row(
            what=f"recall@10 of the dense side in {chunks:,} chunks",
            ours=f"{asked['recall']:.3f}",
            peer="exact float32",
            bar=f"at least {LEAST_RECALL}",
            hit=asked["recall"] >= LEAST_RECALL,
        ),
    ]


def _in_a_process(what: str, folder: str, chunks: int) -> dict[str, float]:
    module = "benchmarks.retrieval.memory"
    command = [sys.executable, "-m", module, f"--{what}", folder, "--chunks", str(chunks)]
    found: dict[str, float] = json.loads(run(command, Path.cwd()).stdout)
    return found


def build(folder: Path, chunks: int) -> dict[str, float]:
    """Make the index. Called in a process of its own."""
    project, index = make_project(folder)
    began = time.perf_counter()
    write_index(
        index,
        _chunks(chunks),
        (vector for block in _blocks(chunks, index.encoder.dimensions) for vector in block),
        fingerprint=real_fingerprint(project, index),
    )
    return {
        "chunks_per_s": chunks / (time.perf_counter() - began),
        "index_bytes": index.path.stat().st_size,
        "peak_bytes": _peak_bytes(),
    }


def ask(folder: Path, chunks: int) -> dict[str, float]:
    """Search the index. Called in a process of its own."""
    project, index = make_project(folder)
    chance = np.random.default_rng(2)
    queries = [" ".join(_drawn(chance, 5)) for _ in range(_WARM_UP + QUERIES)]
    searcher = Searcher(project)
    times = []
    for query in queries:
        began = time.perf_counter()
        searcher.search(query, indexes=[INDEX])
        times.append(1000 * (time.perf_counter() - began))
    peak_bytes = _peak_bytes()
    searcher.close()
    p50, p99 = np.percentile(times[_WARM_UP:], [50, 99])
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "opened_s": times[0] / 1000,
        "peak_bytes": peak_bytes,
        "recall": _recall(index.path, chunks, index.encoder.dimensions),
    }


def _recall(index: Path, chunks: int, dimensions: int) -> float:
    """The share of the ten nearest that the search's dense side has among its first ten."""
    queries = directions(QUERIES, dimensions, seed=-1 % 2**32)
    wanted = _nearest(queries, chunks)
    opened = OpenedIndex(index)
    shared = 0
    with opened.reading() as snapshot:
        no_terms = np.zeros(len(snapshot), np.float32)
        for query, rows in zip(queries, wanted, strict=True):
            found = rank(
                query,
                snapshot.vectors,
                no_terms,
                1.0,
                dense_weight=1.0,
                settings=CODE,
                depth=_DEPTH,
            )
            shared += len(set(found.rows[:10].tolist()) & set(rows.tolist()))
    opened.close()
    return shared / wanted.size


def _nearest(queries: Vectors, chunks: int) -> npt.NDArray[np.int64]:
    """The rows of the ten largest cosines, block by block: int64 [queries, 10]."""
    best = np.full((len(queries), 10), -2.0, np.float32)
    rows = np.zeros((len(queries), 10), np.int64)
    start = 0
    for block in _blocks(chunks, queries.shape[1]):
        near = np.hstack([best, queries @ block.T])
        known = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        where = np.hstack([rows, known])
        order = np.argpartition(-near, 10, axis=1)[:, :10]
        best = np.take_along_axis(near, order, axis=1)
        rows = np.take_along_axis(where, order, axis=1)
        start += len(block)
    return rows


def _blocks(chunks: int, dimensions: int) -> Iterator[Vectors]:
    """All vectors, the same in every process: float32 [4096 or fewer, dimensions]."""
    for number, start in enumerate(range(0, chunks, _BLOCK)):
        yield directions(min(_BLOCK, chunks - start), dimensions, seed=number)


def _chunks(count: int) -> Iterator[Chunk]:
    """Texts of made-up words, as frequent as words are."""
    chance = np.random.default_rng(1)
    for number in range(count):
        text = " ".join(_drawn(chance, _WORDS_OF_A_CHUNK))
        yield Chunk(text=text, title=f"Part {number}", kind="section", first_line=1, last_line=1)


def _drawn(chance: np.random.Generator, count: int) -> list[str]:
    """Words by Mandelbrot's law: the k-th is as frequent as 1 / (k + 50)."""
    words, shares = _vocabulary()
    return [words[place] for place in np.searchsorted(shares, chance.random(count)).tolist()]


@cache
def _vocabulary() -> tuple[list[str], npt.NDArray[np.float64]]:
    """Words, and the share of all text that they and those before them have."""
    syllables = [first + second for first in "bcdfgklmnprst" for second in "aiou"]
    words = ["".join(three) for three in islice(product(syllables, repeat=3), _WORDS)]
    shares = np.cumsum(1 / (np.arange(_WORDS) + _MANDELBROT))
    return words, shares / shares[-1]


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--folder", type=Path, help="where the index is made for the time of a run")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.build or asked.ask:
        found = build(asked.build, asked.chunks) if asked.build else ask(asked.ask, asked.chunks)
        print(json.dumps(found))
        return 0
    return report(measure(chunks=asked.chunks, folder=asked.folder))


if __name__ == "__main__":
    sys.exit(main())
