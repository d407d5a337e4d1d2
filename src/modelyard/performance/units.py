"""What counts as one when chance is reckoned with: a question, or a request of the load."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from modelyard.evaluation.statistics import units_to_settle
from modelyard.performance.results import LOAD, CaseResult, RunFigure, Verdict


def with_verdict(
    figure: RunFigure, threshold: float, verdict: Verdict, more: int | None
) -> RunFigure:
    """A figure with what follows from a threshold."""
    return replace(figure, threshold=threshold, verdict=verdict, more_needed=more)


def more_units(
    value: float, threshold: float, effective: float, n: int, confidence: float
) -> int | None:
    """About how many more units settle a share, if it stays; `effective` is what n are worth."""
    needed = units_to_settle(value, threshold, confidence=confidence)
    if needed is None or effective <= 0:
        return None
    return max(1, math.ceil(needed / effective * n) - n)


def by_question(results: Iterable[CaseResult]) -> list[list[CaseResult]]:
    """The results of each question, all repeats together."""
    found: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for result in results:
        found[result.check, result.case].append(result)
    return list(found.values())


def by_unit(results: Iterable[CaseResult]) -> list[list[CaseResult]]:
    """The same, with each request of the load for itself."""
    results = list(results)
    alone = [[result] for result in results if result.check == LOAD]
    return alone + by_question(result for result in results if result.check != LOAD)
