"""How many answers of a run are right: in all, of a check, of a tag, and beside the base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from modelyard.configs.kinds.test_suites import AccuracyCheck
from modelyard.evaluation.statistics import (
    ClusteredShare,
    clustered_mean,
    clustered_share,
    paired_share_difference,
)
from modelyard.performance.results import CaseResult, RunFigure
from modelyard.performance.units import by_question, more_units
from modelyard.performance.verdicts import judge_least

_GRADED = ("similarity", "citations", "judge")
"""Scorers whose scores say more than right and wrong."""

Over = Literal["all", "check", "tag"]


def accuracy(
    results: Sequence[CaseResult],
    confidence: float,
    *,
    threshold: float | None = None,
    over: Over = "all",
    part: str | None = None,
) -> RunFigure:
    """The weighted share of right answers.

    Answers of which nobody knows whether they are right are not in it. Its interval is so wide that
    it holds whatever they are.
    """
    questions = by_question(results)
    scored = [result for result in results if result.right is not None]
    unknown = len(results) - len(scored)
    if not scored:
        return RunFigure(
            name="accuracy", over=over, part=part, unit="share", value=None,
            n=0, right=0, scored=0, unknown=unknown, threshold=threshold,
            verdict=None if threshold is None else "cannot_tell",
        )  # fmt: skip
    known = _share(questions, confidence, unknown_is=None)
    low, high = known.low, known.high
    if unknown:
        low = _share(questions, confidence, unknown_is=False).low
        high = _share(questions, confidence, unknown_is=True).high
    n = sum(any(each.right is not None for each in asked) for asked in questions)
    verdict, more = None, None
    if threshold is not None:
        verdict = judge_least(low, high, threshold)
        if verdict == "cannot_tell":
            more = more_units(known.value, threshold, known.effective, n, confidence)
    return RunFigure(
        name="accuracy",
        over=over,
        part=part,
        unit="share",
        value=known.value,
        low=low,
        high=high,
        n=n,
        right=sum(bool(result.right) for result in scored),
        scored=len(scored),
        unknown=unknown,
        threshold=threshold,
        verdict=verdict,
        more_needed=more,
    )


def _share(
    questions: Iterable[Sequence[CaseResult]], confidence: float, *, unknown_is: bool | None
) -> ClusteredShare:
    """The share of right answers. unknown_is: what unknown ones are taken for; None: left out."""
    totals, weights, units = [], [], []
    for asked in questions:
        right = [unknown_is if each.right is None else each.right for each in asked]
        known = [each for each in right if each is not None]
        if known:
            totals.append(asked[0].weight * sum(known))
            weights.append(asked[0].weight * len(known))
            units.append(len(known))
    return clustered_share(totals, weights, units, confidence=confidence)


def check_figures(
    check: AccuracyCheck,
    results: Sequence[CaseResult],
    base: Sequence[CaseResult],
    confidence: float,
) -> Iterable[RunFigure]:
    """The figures of one check: accuracy, mean score, and how much better it is than the base."""
    yield accuracy(results, confidence, threshold=check.accuracy, over="check", part=check.name)
    scores = [
        [each.score for each in asked if each.score is not None] for asked in by_question(results)
    ]
    scores = [each for each in scores if each]
    if check.scorer in _GRADED and scores:
        mean, low, high = clustered_mean(
            [sum(each) for each in scores], [len(each) for each in scores], confidence=confidence
        )
        yield RunFigure(
            name="score",
            over="check",
            part=check.name,
            unit="share",
            value=mean,
            low=None if low is None or low == high else max(0.0, low),
            high=None if high is None or low == high else min(1.0, high),
            n=len(scores),
        )
    of_base = [result for result in base if result.check == check.name]
    if of_base:
        yield _against_base(check, results, of_base, confidence)


def _against_base(
    check: AccuracyCheck,
    results: Sequence[CaseResult],
    base: Sequence[CaseResult],
    confidence: float,
) -> RunFigure:
    """How much larger the share of right answers is than that of the base, on the same cases."""
    shares = [
        {
            asked[0].case: sum(each.right for each in asked if each.right) / len(asked)
            for asked in by_question([each for each in some if each.right is not None])
        }
        for some in (results, base)
    ]
    both = [shares[0][case] - shares[1][case] for case in shares[0].keys() & shares[1].keys()]
    threshold = -check.margin
    if not both:
        return RunFigure(
            name="accuracy_over_base", over="check", part=check.name, unit="share", value=None,
            threshold=threshold, verdict="cannot_tell",
        )  # fmt: skip
    gained, lost = sum(each for each in both if each > 0), -sum(each for each in both if each < 0)
    value, low, high = paired_share_difference(gained, lost, len(both), confidence=confidence)
    verdict = judge_least(low, high, threshold)
    more = None
    if verdict == "cannot_tell" and value != threshold:
        needed = len(both) * ((high - low) / 2 / abs(value - threshold)) ** 2
        more = max(1, math.ceil(needed - len(both)))
    return RunFigure(
        name="accuracy_over_base",
        over="check",
        part=check.name,
        unit="share",
        value=value,
        low=low,
        high=high,
        n=len(both),
        threshold=threshold,
        verdict=verdict,
        more_needed=more,
    )
