"""What is measured of answers: each measure with its 95% interval, and what a threshold says of it.

A request has failed when no language model answered it: its outcome is `failed`, or `degraded`
where search results were quoted instead. Requests that a budget or a limit refused, for which
nothing was found, or that nobody waited for, say nothing of the models and are in no error rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from modelyard.core.wording import counted
from modelyard.evaluation.statistics import mean_interval, quantile_ranks, share_interval
from modelyard.monitoring.histogram import bucket_edges, bucket_value
from modelyard.monitoring.periods import Totals
from modelyard.monitoring.ratings import Ratings

Metric = Literal["accuracy", "latency", "cost", "usage", "errors", "backups"]
Unit = Literal["share", "seconds", "usd", "count"]
Verdict = Literal["ok", "breach", "cannot_tell", "no_data"]

_GIVEN = ("answered", "refused", "degraded")
"""Outcomes with which somebody got an answer, and had to wait for it."""
_ERRORS = ("failed", "degraded")
_TRIED = (*_GIVEN, "failed")
_BILLED = (*_TRIED, "interrupted")
_LEAST = frozenset({"accuracy"})
"""Measures of which a threshold is the least that they may be."""
_LEAST_KNOWN = 0.9
"""Of costs, the share that must be known for their mean to be ok."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value over some time. What is unknown is null, and never 0."""

    value: float | None
    """The value; null: there is no data for it."""
    low: float | None
    """The low end of its 95% interval; null: there are too few requests for one."""
    high: float | None
    """The high end."""
    n: int
    """Over how many requests or ratings it is."""
    unknown: int
    """Of how many more it is not known."""
    basis: str
    """The same in words, such as `rated, 41 of 50`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a measure is taken of: the requests of some time, and the ratings given in it."""

    totals: Totals
    """The requests."""
    ratings: Ratings
    """The ratings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that is measured."""

    name: str
    """Its name, such as `latency_p95`."""
    metric: Metric
    """What it is part of."""
    unit: Unit
    """Its unit."""
    take: Callable[[Measured], Figure]
    """Takes it."""


def measures_of(metrics: Sequence[Metric], percentile: int) -> tuple[Measure, ...]:
    """The measures of these metrics; `percentile` is the one of the latency beside the median."""
    percentiles = sorted({50, percentile})
    every = (
        Measure(name="accuracy", metric="accuracy", unit="share", take=_accuracy),
        *(
            Measure(
                name=f"latency_p{each}", metric="latency", unit="seconds", take=_latency(each / 100)
            )
            for each in percentiles
        ),
        Measure(name="cost_per_request", metric="cost", unit="usd", take=_cost_per_request),
        Measure(name="cost_total", metric="cost", unit="usd", take=_cost_total),
        Measure(name="requests", metric="usage", unit="count", take=_requests),
        Measure(name="prompt_tokens", metric="usage", unit="count", take=_tokens("prompt_tokens")),
        Measure(name="output_tokens", metric="usage", unit="count", take=_tokens("output_tokens")),
        Measure(name="error_rate", metric="errors", unit="share", take=_error_rate),
    )
    return tuple(measure for metric in metrics for measure in every if measure.metric == metric)


def has_least(measure: str) -> bool:
    """Whether a threshold of the measure is the least that it may be; else the most."""
    return measure in _LEAST


def judge(figure: Figure, threshold: float, *, least: bool) -> Verdict:
    """What a threshold says of a figure: only what its whole interval agrees on is said.

    least: whether the threshold is the least that it may be; else it is the most.
    """
    if figure.value is None:
        return "no_data"
    good, bad = (figure.low, figure.high) if least else (figure.high, figure.low)
    sign = -1 if least else 1
    if bad is not None and sign * bad > sign * threshold:
        return "breach"
    known = figure.n / (figure.n + figure.unknown)
    if good is not None and sign * good <= sign * threshold and known >= _LEAST_KNOWN:
        return "ok"
    return "cannot_tell"


def threshold_to_clear(threshold: float, margin: float, *, least: bool) -> float:
    """What must be kept for an alert to end: better than the threshold by a margin.

    margin: a share of the threshold; where that is the least, of what it leaves to 1.
    """
    return threshold + margin * (1 - threshold) if least else threshold * (1 - margin)


def _accuracy(measured: Measured) -> Figure:
    good, rated = measured.ratings.good, measured.ratings.rated
    return _share(good, rated, basis=f"rated, {good:,} of {rated:,}")


def _error_rate(measured: Measured) -> Figure:
    outcomes = measured.totals
    tried = outcomes.requests(*_TRIED)
    errors = outcomes.requests(*_ERRORS)
    parts = ", ".join(
        f"{found:,} {outcome}" for outcome in _ERRORS if (found := outcomes.requests(outcome))
    )
    return _share(errors, tried, basis=f"{errors:,} of {tried:,}" + (f": {parts}" if parts else ""))


def _share(some: int, n: int, *, basis: str) -> Figure:
    if not n:
        return _nothing(basis="no data")
    low, high = share_interval(some, n)
    return Figure(value=some / n, low=low, high=high, n=n, unknown=0, basis=basis)


def _latency(share: float) -> Callable[[Measured], Figure]:
    def take(measured: Measured) -> Figure:
        times = measured.totals.histogram(_GIVEN)
        if not times.n:
            return _nothing(basis="no data")
        low, high = quantile_ranks(times.n, share)
        rank = max(1, -(-times.n * round(share * 100) // 100))
        return Figure(
            value=bucket_value(times.bucket_at(rank)),
            low=None if low is None else bucket_edges(times.bucket_at(low))[0],
            high=None if high is None else bucket_edges(times.bucket_at(high))[1],
            n=times.n,
            unknown=0,
            basis=counted(times.n, "answer"),
        )

    return take


def _cost_per_request(measured: Measured) -> Figure:
    sums = measured.totals.sums(_BILLED)
    unknown = sums.requests - sums.costs
    if not sums.costs:
        return _nothing(unknown=unknown, basis=_basis(0, unknown))
    low, high = mean_interval(sums.costs, sums.cost_usd, sums.cost_squared) or (None, None)
    return Figure(
        value=sums.cost_usd / sums.costs,
        low=None if low is None else max(0.0, low),
        high=high,
        n=sums.costs,
        unknown=unknown,
        basis=_basis(sums.costs, unknown),
    )


def _cost_total(measured: Measured) -> Figure:
    sums = measured.totals.sums(_BILLED)
    return _total(sums.cost_usd, sums.costs, sums.requests)


def _requests(measured: Measured) -> Figure:
    n = measured.totals.requests()  # that there were none is known
    basis = _outcomes(measured.totals) or "none recorded"
    return Figure(value=n, low=None, high=None, n=n, unknown=0, basis=basis)


def _tokens(name: Literal["prompt_tokens", "output_tokens"]) -> Callable[[Measured], Figure]:
    def take(measured: Measured) -> Figure:
        sums = measured.totals.sums()
        return _total(getattr(sums, name), sums.token_counts, sums.requests)

    return take


def _total(total: float, known: int, requests: int) -> Figure:
    unknown = requests - known
    basis = _basis(known, unknown)
    if not known:
        return _nothing(unknown=unknown, basis=basis)
    return Figure(value=total, low=None, high=None, n=known, unknown=unknown, basis=basis)


def _nothing(*, unknown: int = 0, basis: str) -> Figure:
    return Figure(value=None, low=None, high=None, n=0, unknown=unknown, basis=basis)


def _basis(known: int, unknown: int) -> str:
    if not known and not unknown:
        return "no data"
    shown = counted(known, "request")
    return f"{shown}, {unknown:,} more unknown" if unknown else shown


def _outcomes(totals: Totals) -> str:
    counts: Mapping[str, int] = {name: totals.requests(name) for name in sorted(totals.outcomes)}
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
