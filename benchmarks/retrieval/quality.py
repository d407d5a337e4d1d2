"""How well the ranking answers: nDCG@10 of each public set, against its bar.

    python -m benchmarks.retrieval.quality --data DIR

The mix must reach the bar of a set that has one, and on no set may it lie below the better of its
two sides. Vectors are kept in the embedding cache of the project this runs in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.retrieval.table import Row, left_out, report
from modelyard.core.layout import find_project
from modelyard.core.progress import Silent
from modelyard.retrieval.evaluate import evaluate_search

BARS = {"cranfield": 0.575, "cosqa_dev": 0.615, "cacm": 0.55}


def measure(sets: Sequence[Path]) -> list[Row]:
    """One row for each set in BEIR's layout."""
    if not sets:
        return [left_out("quality, nDCG@10", 'no set was given (data="DIR ...")')]
    return [_row(folder) for folder in sets]


def _row(folder: Path) -> Row:
    (evaluation,) = evaluate_search(find_project(), folder, progress=Silent())
    found = evaluation.measures["nDCG@10"]
    better = max(found.dense.value, found.lexical.value)
    wanted = BARS.get(folder.name, 0.0)
    return Row(
        what=f"quality, {evaluation.name}, nDCG@10, {evaluation.queries} queries",
        ours=found.fused.shown,
        peer=f"dense {found.dense.shown}, lexical {found.lexical.shown}",
        ratio=found.gain.signed,
        bar=f"at least {wanted}" if wanted else "not below the better side",
        hit=found.fused.value >= max(wanted, better),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    return report(measure(parser.parse_args().data))


if __name__ == "__main__":
    sys.exit(main())
