"""Intervals at any confidence, against scipy and by simulation; clusters are the unit of chance."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t

from modelyard.evaluation.statistics import (
    clustered_mean,
    clustered_share,
    mean_interval,
    paired_share_difference,
    quantile_ranks,
    share_interval,
    units_to_settle,
)

CONFIDENCES = (0.5, 0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_intervals_are_those_of_scipy(confidence: float) -> None:
    for right, n in ((0, 7), (3, 10), (40, 50), (50, 50), (1, 200)):
        low, high = binomtest(right, n).proportion_ci(confidence, method="wilson")
        assert share_interval(right, n, confidence=confidence) == pytest.approx((low, high))
    values = np.random.default_rng(1).lognormal(size=9)
    interval = mean_interval(9, float(values.sum()), float(values @ values), confidence=confidence)
    margin = t.ppf(0.5 + confidence / 2, 8) * values.std(ddof=1) / 3
    assert interval == pytest.approx((values.mean() - margin, values.mean() + margin), rel=1e-5)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_ranks_of_a_quantile_cover_it_and_are_the_innermost_that_do(confidence: float) -> None:
    for n in (10, 72, 300):
        for share in (0.5, 0.95):
            low, high = quantile_ranks(n, share, confidence=confidence)
            tail = (1 - confidence) / 2
            if low is not None:
                assert binom.cdf(low - 1, n, share) <= tail < binom.cdf(low, n, share)
            if high is not None:
                assert binom.cdf(high - 2, n, share) < 1 - tail <= binom.cdf(high - 1, n, share)
    assert quantile_ranks(71, 0.95)[1] is None
    assert quantile_ranks(72, 0.95)[1] == 72


def test_wilsons_interval_holds_the_share_as_often_as_it_says() -> None:
    for n in (50, 100, 400):
        counts = np.arange(n + 1)
        ends = np.array([share_interval(int(count), n) for count in counts])
        held = [
            binom.pmf(counts, n, share)[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum()
            for share in np.linspace(0.05, 0.95, 181)
        ]
        assert 0.94 <= np.mean(held) <= 0.97


def coverage(n: int, repeats: int, correlation: float) -> float:
    """How often the interval holds the share of which n questions were asked so many times."""
    rng, held, tries = np.random.default_rng(7), 0, 0
    for share in np.linspace(0.05, 0.95, 10):
        for _ in range(100):
            chance = np.full(n, share)
            if correlation == 1:
                chance = (rng.random(n) < share).astype(float)
            elif correlation:
                spread = 1 / correlation - 1
                chance = rng.beta(share * spread, (1 - share) * spread, n)
            asked = np.full(n, repeats)
            found = clustered_share(rng.binomial(repeats, chance), asked, asked)
            held += found.low <= share <= found.high
            tries += 1
    return held / tries


@pytest.mark.parametrize(("repeats", "correlation"), [(1, 0), (3, 0), (3, 0.3), (3, 1)])
def test_repeats_of_a_question_are_no_new_questions(repeats: int, correlation: float) -> None:
    assert 0.93 <= coverage(50, repeats, correlation) <= 0.975


def test_single_units_of_one_weight_have_wilsons_interval() -> None:
    right = [1] * 40 + [0] * 10
    found = clustered_share(right, [1] * 50, [1] * 50, confidence=0.9)
    low, high = share_interval(40, 50, confidence=0.9)
    assert astuple(found) == pytest.approx((0.8, low, high, 50))
    assert clustered_share([2, 0, 1], [2, 1, 1], [1, 1, 1]).value == 0.75
    single = clustered_share([1, 0, 1] * 10, [1] * 30, [1] * 30)
    doubled = clustered_share([2, 0, 2] * 10, [2] * 30, [2] * 30)
    assert astuple(doubled) == pytest.approx(astuple(single))
    agreed = clustered_share([3] * 20, [3] * 20, [3] * 20)
    assert astuple(agreed) == pytest.approx((1.0, share_interval(20, 20)[0], 1.0, 20))


def test_a_difference_of_paired_shares_is_covered() -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(1000):
        both = rng.choice(3, size=60, p=[0.1, 0.2, 0.7])
        _, low, high = paired_share_difference((both == 0).sum(), (both == 1).sum(), 60)
        held += low <= -0.1 <= high
    assert 0.93 <= held / 1000 <= 0.975
    value, low, high = paired_share_difference(0, 0, 20)
    assert value == 0
    assert -0.2 < low < -0.05
    assert high == -low


def test_a_mean_over_clusters_is_a_mean_where_each_has_one() -> None:
    values = np.random.default_rng(2).exponential(size=12)
    plain = mean_interval(12, float(values.sum()), float(values @ values))
    mean, low, high = clustered_mean(values, np.ones(12))
    assert (low, high) == pytest.approx(plain)
    assert mean == pytest.approx(values.mean())
    assert clustered_mean([3.0], [2]) == (1.5, None, None)


def test_so_many_more_settle_it() -> None:
    for share, threshold in ((0.8, 0.85), (0.8, 0.7), (1.0, 0.95), (0.0, 0.05)):
        n = units_to_settle(share, threshold)
        assert n is not None
        for count, is_settled in ((n, True), (n - 1, False)):
            low, high = share_interval(share * count, count)
            assert (low >= threshold or high <= threshold) == is_settled
    assert units_to_settle(0.8, 0.8) is None
    assert units_to_settle(0.8, 0.8 + 1e-9) is None
