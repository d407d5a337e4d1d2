"""The figures of a run: accuracy, times, rates and costs, each with its interval and verdict.

Questions are the unit of chance. Asked several times, a question is still one, and intervals are
over questions. The requests of the load are drawn from them with replacement, so that each is a
unit of its own, for this mix of questions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelyard.configs.kinds.test_suites import TestSuite
from modelyard.evaluation.statistics import (
    clustered_mean,
    clustered_share,
    least_for_top,
    quantile_ranks,
)
from modelyard.performance.accuracy import accuracy, check_figures
from modelyard.performance.results import ERRORS, GIVEN, LOAD, CaseResult, RunFigure
from modelyard.performance.units import by_question, by_unit, more_units, with_verdict
from modelyard.performance.verdicts import enough_known, judge_most

_REACHED = (*GIVEN, *ERRORS)
"""Outcomes of requests that reached a model, or should have."""


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
            figures += check_figures(check, of_check, measured.base, confidence)
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
        result for result in results if result.outcome in GIVEN and result.latency_s is not None
    ]
    name = f"latency_p{share * 100:.0f}"
    times = [each.latency_s or 0.0 for each in given]
    figure = _quantile(name, given, times, share, confidence, drawn=drawn)
    if threshold is None:
        return figure
    verdict = judge_most(figure.low, figure.high, threshold)
    more = None
    if verdict == "cannot_tell" and given:
        within = sum((each.latency_s or 0.0) <= threshold for each in given) / len(given)
        more = more_units(within, share, figure.n, figure.n, confidence)
        if more is not None and within > share:  # it is kept once there is an upper end
            more = max(more, least_for_top(share, confidence=confidence) - figure.n)
    return with_verdict(figure, threshold, verdict, more)


def _first_token(results: Sequence[CaseResult], confidence: float, *, drawn: bool) -> RunFigure:
    begun = [each for each in results if each.outcome in GIVEN and each.first_token_s is not None]
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
    are taken at the same places among all times: as wide as if all repeats took equally long.
    """
    ordered = sorted(times)
    n = len(ordered)
    units = n if drawn else len(by_question(results))
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
    given = [result for result in results if result.outcome in GIVEN]
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
        units = by_unit(known)
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
        figure = with_verdict(figure, threshold, verdict, more)
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
    units = by_unit(reached)
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
        more = more_units(share.value, threshold, share.effective, len(units), confidence)
    return with_verdict(figure, threshold, verdict, more)
