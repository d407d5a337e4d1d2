"""The figures of a run: accuracy, times, rates and costs, each with its interval and verdict.

Questions are the unit of chance. Asked several times, a question is still one, and intervals are
over questions. The requests of the load are drawn from them with replacement, so that each is a unit
of its own, for this mix of questions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modelyard.configs.kinds.test_suites import AccuracyCheck, TestSuite
from modelyard.evaluation.statistics import (
    ClusteredShare,
    clustered_mean,
    clustered_share,
    paired_share_difference,
    quantile_ranks,
    units_to_settle,
)
from modelyard.performance.results import LOAD, CaseResult, RunFigure, Verdict
from modelyard.performance.verdicts import enough_known, judge_least, judge_most

_GRADED = ("similarity", "citations", "judge", "facts")
"""Scorers whose scores say more than right and wrong."""
_REACHED = ("answered", "refused", "degraded", "failed", "timeout")
"""Outcomes of requests that reached a model, or should have."""
_GIVEN = ("answered", "refused")
"""Outcomes of requests that a language model ended."""
ERRORS = ("degraded", "failed", "timeout")
"""Outcomes that are errors."""

Over = Literal["all", "check", "tag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured, and by what it is judged."""

    suite: TestSuite
    """The suite."""
    results: Sequence[CaseResult]
    """Cases and load requests."""
    base: Sequence[CaseResult]
    """The cases asked of the base."""
    cases_s: float
    """Seconds in which the cases were asked."""
    load_s: float
    """Seconds in which the load was sent."""


def build_figures(measured: Measured) -> tuple[RunFigure, ...]:
    """All figures, the most important first."""
    suite, confidence = measured.suite, measured.suite.confidence
    cases = [result for result in measured.results if result.check != LOAD]
    load = [result for result in measured.results if result.check == LOAD]
    figures: list[RunFigure] = []
    if cases:
        figures.append(accuracy(cases, confidence, threshold=suite.thresholds.accuracy))
    for check in suite.checks:
        of_check = [result for result in cases if result.check == check.name]
        if of_check:
            figures += _of_check(check, of_check, measured.base, confidence)
    for tag in sorted({tag for result in cases for tag in result.tags}):
        tagged = [result for result in cases if tag in result.tags]
        figures.append(accuracy(tagged, confidence, over="tag", part=tag))
    timed = load or cases
    limits = {0.5: suite.thresholds.latency_p50_s, 0.95: suite.thresholds.latency_p95_s, 0.99: None}
    for share, threshold in limits.items():
        figures.append(_latency(timed, share, threshold, confidence, drawn=bool(load)))
    figures.append(_first_token(timed, confidence, drawn=bool(load)))
    figures += _rates(timed, measured.load_s if load else measured.cases_s)
    figures += _costs(measured, confidence)
    figures.append(_errors(measured.results, suite.thresholds.error_rate, confidence))
    return tuple(figures)


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
    questions = _by_question(results)
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
            more = _more(known.value, threshold, known.effective, n, confidence)
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
    """The share of right answers; unknown_is: what the unknown ones are taken for, None: left out."""
    totals, weights, units = [], [], []
    for asked in questions:
        right = [unknown_is if each.right is None else each.right for each in asked]
        known = [each for each in right if each is not None]
        if known:
            totals.append(asked[0].weight * sum(known))
            weights.append(asked[0].weight * len(known))
            units.append(len(known))
    return clustered_share(totals, weights, units, confidence=confidence)


def _of_check(
    check: AccuracyCheck,
    results: Sequence[CaseResult],
    base: Sequence[CaseResult],
    confidence: float,
) -> Iterable[RunFigure]:
    yield accuracy(results, confidence, threshold=check.accuracy, over="check", part=check.name)
    scores = [
        [each.score for each in asked if each.score is not None] for asked in _by_question(results)
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
            low=None if low is None else max(0.0, low),
            high=None if high is None else min(1.0, high),
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
            for asked in _by_question([each for each in some if each.right is not None])
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


def _latency(
    results: Sequence[CaseResult],
    share: float,
    threshold: float | None,
    confidence: float,
    *,
    drawn: bool,
) -> RunFigure:
    """A percentile of the times of answers that a language model gave."""
    given = [
        result for result in results if result.outcome in _GIVEN and result.latency_s is not None
    ]
    name = f"latency_p{share * 100:.0f}"
    figure = _quantile(name, given, [each.latency_s or 0.0 for each in given], share, confidence,
                       drawn=drawn)  # fmt: skip
    if threshold is None:
        return figure
    verdict = judge_most(figure.low, figure.high, threshold)
    more = None
    if verdict == "cannot_tell" and given:
        within = sum((each.latency_s or 0.0) <= threshold for each in given) / len(given)
        more = _more(within, share, figure.n, figure.n, confidence)
    return _judged(figure, threshold, verdict, more)


def _first_token(results: Sequence[CaseResult], confidence: float, *, drawn: bool) -> RunFigure:
    begun = [each for each in results if each.outcome in _GIVEN and each.first_token_s is not None]
    times = [each.first_token_s or 0.0 for each in begun]
    return _quantile("first_token_p50", begun, times, 0.5, confidence, drawn=drawn)


def _quantile(
    name: str,
    results: Sequence[CaseResult],
    times: Sequence[float],
    share: float,
    confidence: float,
    *,
    drawn: bool,
) -> RunFigure:
    """A quantile, with the order statistics that its interval ends at.

    drawn: whether each request is a unit of its own. Else questions are, and the ranks of so many
    are taken at the same places among all times: as wide as if all repeats of one took equally long.
    """
    ordered = sorted(times)
    n = len(ordered)
    units = n if drawn else len(_by_question(results))
    if not n:
        return RunFigure(name=name, unit="seconds", value=None)
    low, high = quantile_ranks(units, share, confidence=confidence)
    return RunFigure(
        name=name,
        unit="seconds",
        value=ordered[max(0, math.ceil(share * n) - 1)],
        low=None if low is None else ordered[(low - 1) * n // units],
        high=None if high is None else ordered[-(-high * n // units) - 1],
        n=units,
    )


def _rates(results: Sequence[CaseResult], seconds: float) -> Iterable[RunFigure]:
    """Answers and tokens of them in a second."""
    given = [result for result in results if result.outcome in _GIVEN]
    known = [result.output_tokens for result in given if result.output_tokens is not None]
    all_known = given and len(known) == len(given) and seconds > 0
    yield RunFigure(
        name="requests_per_s",
        unit="per_second",
        value=len(given) / seconds if given and seconds > 0 else None,
        n=len(given),
    )
    yield RunFigure(
        name="tokens_per_s",
        unit="per_second",
        value=sum(known) / seconds if all_known else None,
        n=len(known),
        unknown=len(given) - len(known),
    )


def _costs(measured: Measured, confidence: float) -> Iterable[RunFigure]:
    """The mean cost of a request that reached a model, and what the whole run cost."""
    reached = [result for result in measured.results if result.outcome in _REACHED]
    known = [result for result in reached if result.cost_usd is not None]
    unknown = len(reached) - len(known)
    threshold = measured.suite.thresholds.cost_per_request_usd
    figure = RunFigure(name="cost_per_request", unit="usd", value=None, unknown=unknown)
    if known:
        units = _by_unit(known)
        totals = [sum(each.cost_usd or 0.0 for each in unit) for unit in units]
        mean, low, high = clustered_mean(totals, list(map(len, units)), confidence=confidence)
        figure = RunFigure(
            name="cost_per_request",
            unit="usd",
            value=mean,
            low=None if low is None else max(0.0, low),
            high=high,
            n=len(units),
            unknown=unknown,
        )
    if threshold is not None:
        verdict = judge_most(figure.low, figure.high, threshold)
        if verdict == "pass" and not enough_known(len(known), unknown):
            verdict = "cannot_tell"
        more = None
        value, high = figure.value, figure.high
        if verdict == "cannot_tell" and value not in (None, threshold) and high is not None:
            assert value is not None
            needed = figure.n * ((high - value) / abs(value - threshold)) ** 2
            more = (
                max(1, math.ceil(needed) - figure.n) if enough_known(len(known), unknown) else None
            )
        figure = _judged(figure, threshold, verdict, more)
    yield figure
    everything = [*measured.results, *measured.base]
    paid = [each.cost_usd for each in everything if each.cost_usd is not None]
    judged = [each.judge_cost_usd for each in everything if each.judge_cost_usd is not None]
    yield RunFigure(
        name="cost_total",
        unit="usd",
        value=sum(paid) + sum(judged) if paid else None,
        n=len(paid),
        unknown=len(everything) - len(paid),
    )


def _errors(results: Sequence[CaseResult], threshold: float | None, confidence: float) -> RunFigure:
    """The share of requests that no language model answered, of those that one should have."""
    reached = [result for result in results if result.outcome in _REACHED]
    if not reached:
        return RunFigure(
            name="error_rate", unit="share", value=None, threshold=threshold,
            verdict=None if threshold is None else "cannot_tell",
        )  # fmt: skip
    units = _by_unit(reached)
    failed = [sum(each.outcome in ERRORS for each in unit) for unit in units]
    sizes = list(map(len, units))
    share = clustered_share(failed, sizes, sizes, confidence=confidence)
    figure = RunFigure(
        name="error_rate",
        unit="share",
        value=share.value,
        low=share.low,
        high=share.high,
        n=len(units),
        unknown=len(results) - len(reached),
    )
    if threshold is None:
        return figure
    verdict = judge_most(share.low, share.high, threshold)
    more = None
    if verdict == "cannot_tell":
        more = _more(share.value, threshold, share.effective, len(units), confidence)
    return _judged(figure, threshold, verdict, more)


def _judged(figure: RunFigure, threshold: float, verdict: Verdict, more: int | None) -> RunFigure:
    return replace(figure, threshold=threshold, verdict=verdict, more_needed=more)


def _more(
    value: float, threshold: float, effective: float, n: int, confidence: float
) -> int | None:
    """About how many more units settle a share, if it stays; `effective` is what n are worth."""
    needed = units_to_settle(value, threshold, confidence=confidence)
    if needed is None or effective <= 0:
        return None
    return max(1, math.ceil(needed / effective * n) - n)


def _by_question(results: Iterable[CaseResult]) -> list[list[CaseResult]]:
    """The results of each question, all repeats together."""
    found: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for result in results:
        found[result.check, result.case].append(result)
    return list(found.values())


def _by_unit(results: Iterable[CaseResult]) -> list[list[CaseResult]]:
    """The same, with each request of the load for itself."""
    results = list(results)
    alone = [[result] for result in results if result.check == LOAD]
    return alone + _by_question(result for result in results if result.check != LOAD)
