"""The bars of answers, measured one after another, in one table: `make bench-answers`.

    python -m benchmarks.answers [--only NAME]...

The real clients ask a provider on loopback. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from benchmarks.answers import sharing
from benchmarks.engine.table import Row, render
from benchmarks.retrieval.table import describe_machine

MEASURES: Mapping[str, Callable[[], Row]] = {
    "budget": sharing.measure_budget,
    "rate": sharing.measure_rate,
    "probes": sharing.measure_probes,
    "kills": sharing.measure_kills,
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
    machine, rows = describe_machine(), []
    for name in parser.parse_args().only or MEASURES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(MEASURES[name]())
    print(f"{machine}\n\n{render(rows)}")
    return int(any(row.verdict == "missed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
