"""What a run can tell and what it cannot: gaps that so many questions show, and those they hide."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.core.wording import counted
from modelyard.evaluation.paired import pairs_needed
from modelyard.evaluation.statistics import units_for_width
from modelyard.performance.results import LOAD, RunFigure, TestRun
from modelyard.performance.shown import show_name

_ALSO_CHANGED = 0.1
"""Beside the gap itself, the share of answers of which one of two models is right by chance. Two
versions of one model differ in more of them, two temperatures in fewer."""
_FEW = 30
_FINE_WIDTH = 0.1


def what_it_tells(run: TestRun) -> tuple[str, ...]:
    """What the figures of a run can settle, in sentences without the full stop."""
    return tuple(_sentences(run))


def _sentences(run: TestRun) -> Iterator[str]:
    cases = len({(case.check, case.case) for case in run.cases if case.right is not None})
    if cases:
        yield from _accuracy(run, cases)
        yield _gaps(cases)
    silent = sum(case.outcome == "nothing_found" and case.right is True for case in run.cases)
    if silent:
        yield (
            f"{counted(silent, 'answer is', 'answers are')} right since nothing was found and "
            "no model was asked, which says something of the search and nothing of a model"
        )
    if few := _small_checks(run):
        names = ", ".join(f"{name} ({number})" for name, number in few)
        yield (
            f"With fewer than {_FEW} questions a check finds what is plainly broken, and nothing "
            f"finer: {names}"
        )
    for figure in run.figures:
        if figure.threshold is not None and figure.unit == "seconds" and _has_no_top(figure):
            yield (
                f"The {show_name(figure)} is of {counted(figure.n, 'request')}, too few for an "
                "upper end: that it is kept cannot be told, only that it is not"
            )
    if run.repeats > 1:
        yield (
            f"Each question was asked {run.repeats} times. That shows how steady the answers are; "
            "it is no more questions"
        )


def _accuracy(run: TestRun, cases: int) -> Iterator[str]:
    whole = next(
        (each for each in run.figures if each.name == "accuracy" and each.over == "all"), None
    )
    if whole is None or whole.value is None or whole.low is None or whole.high is None:
        return
    text = (
        f"Accuracy is over {counted(cases, 'question')}, and its interval is "
        f"{100 * (whole.high - whole.low):.0f} points wide: a threshold within it is not settled"
    )
    finer = units_for_width(whole.value, _FINE_WIDTH, confidence=run.confidence)
    if finer > cases and not whole.unknown:
        text += f". An interval of 10 points takes about {_rounded(finer):,} questions"
    elif whole.unknown:
        text += f". It holds whatever the {counted(whole.unknown, 'answer')} not scored may be"
    yield text


def _gaps(cases: int) -> str:
    gap = smallest_gap(cases)
    found = "no gap" if gap is None else f"a gap of {100 * gap:.0f} points"
    needed = " and ".join(
        f"about {_rounded(_pairs(points / 100)):,} for a gap of {points} points"
        for points in (10, 5)
    )
    return (
        f"Between two configurations, {counted(cases, 'question')} asked of both find {found} in "
        f"four of five trials; it takes {needed}"
    )


def smallest_gap(pairs: int) -> float | None:
    """The smallest gap in accuracy, in steps of a point, that so many pairs find in 4 of 5 trials.

    None where they find none. Assumes that beside the gap one answer in ten changes.
    """
    return next(
        (points / 100 for points in range(1, 90) if _pairs(points / 100) <= pairs),
        None,
    )


def _pairs(gap: float) -> int:
    needed = pairs_needed(gap, min(1.0, gap + _ALSO_CHANGED))
    assert needed is not None
    return needed


def _rounded(number: int) -> int:
    """To two digits: it is no exact figure."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return round(number / step) * step


def _small_checks(run: TestRun) -> list[tuple[str, int]]:
    """The checks of few questions, each with how many it has."""
    asked: dict[str, set[str]] = {}
    for case in run.cases:
        if case.check != LOAD:
            asked.setdefault(case.check, set()).add(case.case)
    return [(name, len(cases)) for name, cases in asked.items() if len(cases) < _FEW]


def _has_no_top(figure: RunFigure) -> bool:
    return figure.value is not None and figure.high is None
