from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from modelyard.core.errors import NoData
from modelyard.evaluation.paired import (
    mcnemar_exact,
    paired_bootstrap,
    paired_log_ratio,
    pairs_needed,
)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (2, 9), (40, 21), (0, 900)])
def test_mcnemars_p_value_is_that_of_a_fair_coin(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    expected = stats.binomtest(only_a, n, 0.5).pvalue if n else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(only_b, only_a) == mcnemar_exact(only_a, only_b)


def test_a_number_of_cases_below_zero_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not below 0"):
        mcnemar_exact(-1, 2)


def test_the_bootstrap_agrees_with_scipys_but_for_its_widening() -> None:
    differences = np.random.default_rng(5).choice([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0], 40)
    mean, low, high = paired_bootstrap(list(differences), seed=1)
    other = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=10_000, random_state=2
    ).confidence_interval
    wider = math.sqrt(40 / 39)
    assert mean == pytest.approx(differences.mean())
    assert low == pytest.approx(mean + wider * (other.low - mean), abs=0.02)
    assert high == pytest.approx(mean + wider * (other.high - mean), abs=0.02)


def test_a_case_that_weighs_more_counts_more() -> None:
    mean, low, high = paired_bootstrap([1.0, 0.0, 0.0], [2.0, 1.0, 1.0], seed=1)
    assert mean == pytest.approx(0.5)
    assert low is not None
    assert high is not None
    assert low < 0.5 < high


def test_the_same_seed_gives_the_same_interval() -> None:
    differences = [0.5, -0.5, 1.0, 0.0]
    assert paired_bootstrap(differences, seed=3) == paired_bootstrap(differences, seed=3)


def test_one_case_has_no_interval_and_none_no_mean() -> None:
    assert paired_bootstrap([0.5], seed=1) == (0.5, None, None)
    assert paired_log_ratio([2.0], [4.0]) == (pytest.approx(2.0), None, None)
    with pytest.raises(NoData):
        paired_bootstrap([], seed=1)
    with pytest.raises(NoData):
        paired_log_ratio([], [])


@pytest.mark.parametrize("n", [20, 60])
def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says(n: int) -> None:
    chance = np.random.default_rng(11)
    covered = 0
    for seed in range(300):
        differences = (chance.random(n) < 0.8) * 1.0 - (chance.random(n) < 0.7) * 1.0
        _, low, high = paired_bootstrap(list(differences), seed=seed, draws=600)
        covered += low is not None and high is not None and low <= 0.1 <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_times_are_compared_by_the_geometric_mean_of_their_ratios() -> None:
    a, b = [1.0, 2.0, 0.5, 4.0], [2.0, 1.0, 0.6, 9.0]
    ratio, low, high = paired_log_ratio(a, b)
    logs = np.log(b) - np.log(a)
    expected = stats.t.interval(0.95, len(a) - 1, logs.mean(), stats.sem(logs))
    assert ratio == pytest.approx(math.exp(logs.mean()))
    assert (low, high) == (
        pytest.approx(math.exp(expected[0]), rel=1e-5),
        pytest.approx(math.exp(expected[1]), rel=1e-5),
    )


@pytest.mark.parametrize(("a", "b"), [([1.0], [0.0]), ([-1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_times_that_no_case_has_are_a_bug(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match=r"above 0|one length"):
        paired_log_ratio(a, b)


def test_so_many_pairs_find_the_gap_as_often_as_is_asked() -> None:
    n = pairs_needed(0.1, 0.38)
    assert n is not None
    chance = np.random.default_rng(13)
    a, b = chance.random((2_000, n)) < 0.8, chance.random((2_000, n)) < 0.7
    only_a, only_b = (a & ~b).sum(axis=1), (b & ~a).sum(axis=1)
    found = np.mean(
        [mcnemar_exact(int(x), int(y)) <= 0.05 for x, y in zip(only_a, only_b, strict=True)]
    )
    assert 0.75 <= found <= 0.85


def test_no_gap_is_never_found_and_an_impossible_one_is_a_bug() -> None:
    assert pairs_needed(0.0, 0.3) is None
    with pytest.raises(ValueError, match="discordant"):
        pairs_needed(0.5, 0.3)
