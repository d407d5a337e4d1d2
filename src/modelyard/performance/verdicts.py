"""What follows from a figure and its threshold: pass, breach, or that nobody can tell yet."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.performance.results import RunFigure, Verdict

_NEEDED_SHARE_KNOWN = 0.9
"""The share of the costs that must be known for the mean of them to keep a threshold."""


def judge_least(low: float | None, high: float | None, threshold: float) -> Verdict:
    """The verdict on what must reach a threshold: on the whole interval, and not on the value."""
    if low is not None and low >= threshold:
        return "pass"
    return "breach" if high is not None and high < threshold else "cannot_tell"


def judge_most(low: float | None, high: float | None, threshold: float) -> Verdict:
    """The verdict on what must not exceed a threshold."""
    if high is not None and high <= threshold:
        return "pass"
    return "breach" if low is not None and low > threshold else "cannot_tell"


def enough_known(n: int, unknown: int) -> bool:
    """Whether so few values are unknown that the mean of the others says something of all."""
    return n >= _NEEDED_SHARE_KNOWN * (n + unknown)


def sum_up(figures: Iterable[RunFigure], *, complete: bool, none_answered: bool) -> Verdict:
    """The verdict on a run: the worst of its figures.

    A run that was interrupted never passes, nor does one that judges nothing at all; one in which
    no request was answered is a breach whatever the thresholds are.
    """
    verdicts = {figure.verdict for figure in figures}
    if none_answered or "breach" in verdicts:
        return "breach"
    judged = verdicts - {None}
    return "pass" if complete and judged == {"pass"} else "cannot_tell"
