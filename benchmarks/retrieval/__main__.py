"""Every bar of retrieval, measured one after another, in one table: `make bench-retrieval`.

    python -m benchmarks.retrieval [--data DIR]... [--peer PYTHON] [--only NAME]... [--markdown]

Exits 1 when a bar is missed. Nothing else should be running: the machine's load at the start is
printed with the table. It takes about ten minutes and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.retrieval import cold, encoding, files, memory, quality, warm
from benchmarks.retrieval.prose import python_sources
from benchmarks.retrieval.table import Row, describe_machine, render_markdown, report


def main() -> int:
    asked = _parse()
    text = asked.text or python_sources()
    measures: Mapping[str, Callable[[], list[Row]]] = {
        "quality": lambda: quality.measure(asked.data),
        "encoding": lambda: encoding.measure(asked.data, asked.peer),
        "files": lambda: files.measure(text),
        "warm": lambda: warm.measure(text, asked.data),
        "cold": lambda: cold.measure(text),
        "memory": lambda: memory.measure(folder=asked.folder),
    }
    if unknown := set(asked.only) - set(measures):
        raise SystemExit(f"no such measure: {', '.join(sorted(unknown))}")
    machine = describe_machine()
    rows: list[Row] = []
    for name, measure in measures.items():
        if not asked.only or name in asked.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += measure()
    print(machine)
    if asked.markdown:
        print(render_markdown(rows))
        return int(any(row.hit is False for row in rows))
    return report(rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retrieval", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a set in BEIR's layout (may be given again)",
    )
    parser.add_argument(
        "--peer",
        type=Path,
        metavar="PYTHON",
        help="the interpreter of an environment that has sentence-transformers",
    )
    parser.add_argument(
        "--text",
        type=Path,
        action="append",
        metavar="DIR",
        help="what to index (default: the sources of this Python and its packages)",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the million chunks are put for a while"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="one measure: quality, encoding, files, warm, cold or memory (may be given again)",
    )
    parser.add_argument("--markdown", action="store_true", help="print a table for a document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
