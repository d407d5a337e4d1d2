"""The bars of answers, measured one after another, in one table: `make bench-answers`.

    python -m benchmarks.answers [--only NAME]...

The real clients ask a provider on loopback. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks.answers import overhead, process, sharing
from benchmarks.engine.table import Row, render
from benchmarks.retrieval.table import describe_machine

MEASURES: Mapping[str, Callable[[], Sequence[Row]]] = {
    "overhead": overhead.measure_overhead,
    "process": process.measure_process,
    "budget": lambda: [sharing.measure_budget()],
    "rate": lambda: [sharing.measure_rate()],
    "probes": lambda: [sharing.measure_probes()],
    "kills": lambda: [sharing.measure_kills()],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers")
    parser.add_argument(
        "--only",
        action="append",
        choices=MEASURES,
        metavar="NAME",
        help=f"one of {', '.join(MEASURES)} (may be given again; default: all)",
    )
    machine, rows = describe_machine(), list[Row]()
    for name in parser.parse_args().only or MEASURES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += MEASURES[name]()
    print(f"{machine}\n\n{render(rows)}")
    return int(any(row.verdict == "missed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
