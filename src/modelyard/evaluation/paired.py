"""Two models on the same cases: right and wrong, scores and times, compared case by case.

Pure numbers in, pure numbers out. Pairing takes out what makes a case hard, so a gap shows with
fewer cases than between two separate samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from modelyard.core.errors import NoData
from modelyard.evaluation.statistics import mean_interval

_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
_AT_ONCE = 2_000_000
"""Numbers that are drawn at once: 16 MB."""


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """The two-sided p-value that two models are equally often right.

    only_a, only_b: cases that only one of the two has right. Cases that both or neither have right
    say nothing. If the models are equally good each of the others is a fair coin, so the p-value is
    binomial and exact for any number of cases; 1 without any.
    Source: McNemar, Psychometrika 12, 1947; the exact form is that of Fagerland, Lydersen and
    Laake, BMC Medical Research Methodology 13:91, 2013.
    """
    if min(only_a, only_b) < 0:
        raise ValueError("a number of cases is not below 0")
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(count + 1)
            - math.lgamma(n - count + 1)
            - n * math.log(2)
        )
        for count in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def paired_bootstrap(
    differences: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    seed: int,
    draws: int = 10_000,
) -> tuple[float, float | None, float | None]:
    """The weighted mean of differences, with the ends of its 95% percentile bootstrap interval.

    differences: B - A, one for each case.  weights: of the cases; None: they are equal.
    A case is the unit that is drawn, with its weight. The interval is widened by sqrt(n / (n - 1)),
    without which it is too narrow for few cases; it has no ends for a single one.
    Raises NoData without cases.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, ch. 13; the widening is that of
    Hesterberg, The American Statistician 69(4), 2015.
    """
    n = len(differences)
    if n == 0:
        raise NoData("there are no cases to compare")
    values = np.asarray(differences, dtype=np.float64)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != values.shape or not (weight > 0).all():
        raise ValueError("each difference needs a weight above 0")
    mean = float(values @ weight / weight.sum())
    if n == 1:
        return mean, None, None
    chance = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    step = max(1, _AT_ONCE // n)
    for start in range(0, draws, step):
        drawn = chance.integers(n, size=(min(step, draws - start), n))
        means.append((values * weight)[drawn].sum(axis=1) / weight[drawn].sum(axis=1))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    wider = math.sqrt(n / (n - 1))
    return mean, mean + wider * float(low - mean), mean + wider * float(high - mean)


def paired_log_ratio(
    a: Sequence[float], b: Sequence[float]
) -> tuple[float, float | None, float | None]:
    """How many times as long B takes as A, with the ends of its 95% interval.

    a, b: seconds, above 0, of the same cases. The ratio is the geometric mean of the ratios of the
    cases, so that twice as long and half as long weigh the same and one slow case does not decide;
    the interval is Student's t of their logarithms. It has no ends for a single case.
    Raises NoData without cases.
    """
    if len(a) != len(b):
        raise ValueError("a and b must be of one length")
    if not a:
        raise NoData("there are no cases to compare")
    if min(*a, *b) <= 0:
        raise ValueError("a time must be above 0")
    logs = [math.log(of_b) - math.log(of_a) for of_a, of_b in zip(a, b, strict=True)]
    ends = mean_interval(len(logs), math.fsum(logs), math.fsum(log * log for log in logs))
    ratio = math.exp(math.fsum(logs) / len(logs))
    return (ratio, None, None) if ends is None else (ratio, math.exp(ends[0]), math.exp(ends[1]))


def pairs_needed(difference: float, discordant: float, *, power: float = 0.8) -> int | None:
    """How many pairs McNemar's test needs to find a gap; None where there is none to find.

    difference: between the shares of right answers, such as 0.1.  discordant: the share of pairs of
    which only one is right; that of independent models with the shares p and q is p + q - 2pq.
    power: how often the gap is found, at a level of 5%.
    Source: Connor, Biometrics 43(1), 1987.
    """
    gap = abs(difference)
    if gap == 0:
        return None
    if not gap <= discordant <= 1:
        raise ValueError("the share of discordant pairs is from the difference to 1")
    found = NormalDist().inv_cdf(power)
    sides = _Z * math.sqrt(discordant) + found * math.sqrt(discordant - gap * gap)
    return math.ceil((sides / gap) ** 2)
