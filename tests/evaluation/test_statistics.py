from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.core.errors import ModelyardError, NoData
from modelyard.evaluation.statistics import (
    PairedDifference,
    _student_t,
    mean_interval,
    paired_difference,
    quantile_ranks,
    share_interval,
)


def test_the_mean_is_that_of_the_loss_per_token() -> None:
    difference = paired_difference([2.0, 4.0], [1.0, 1.0], [10, 30])
    assert difference.mean == pytest.approx((10 * -1 + 30 * -3) / 40)


def test_with_equal_weights_it_is_students_interval() -> None:
    base, tuned = [3.0, 2.0, 4.0, 3.5, 2.5], [2.0, 1.5, 2.0, 3.0, 2.0]
    difference = paired_difference(base, tuned, [7] * 5)
    assert difference.mean == pytest.approx(-0.9)
    # By hand: s = 0.65192, s / sqrt(5) = 0.29155, t(4, 97.5%) = 2.77645.
    assert difference.high == pytest.approx(-0.9 + 2.77645 * 0.29155, abs=1e-4)
    assert difference.low == pytest.approx(-0.9 - 2.77645 * 0.29155, abs=1e-4)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    base, tuned = [3.0, 2.0, 4.0], [2.0, 1.5, 2.0]
    small = paired_difference(base, tuned, [1, 2, 3])
    large = paired_difference(base, tuned, [100, 200, 300])
    assert small.low == pytest.approx(large.low)
    assert small.high == pytest.approx(large.high)


def test_one_row_has_a_difference_and_no_interval() -> None:
    assert paired_difference([3.0], [2.0], [5]) == PairedDifference(-1.0, None, None)


def test_a_row_that_outweighs_all_others_leaves_little_to_be_sure_of() -> None:
    base, tuned = [3.0, 3.1, 3.2, 3.1], [2.0, 2.2, 2.1, 2.9]
    even = paired_difference(base, tuned, [10, 10, 10, 10])
    uneven = paired_difference(base, tuned, [1000, 1, 1, 1])
    assert even.high is not None
    assert even.high < 0
    assert uneven.high is not None
    assert uneven.high > 0


def test_no_rows_are_no_data() -> None:
    with pytest.raises(NoData):
        paired_difference([], [], [])
    with pytest.raises(NoData):
        share_interval(0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_that_names_the_row(bad: float) -> None:
    with pytest.raises(ModelyardError, match="row 2 is not a finite number"):
        paired_difference([1.0, 2.0, 3.0], [1.0, bad, bad], [1, 1, 1])


def test_rows_that_do_not_match_are_a_bug() -> None:
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1.0], [1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="above 0"):
        paired_difference([1.0, 1.0], [1.0, 2.0], [1, 0])
    with pytest.raises(ValueError, match="not a share"):
        share_interval(3, 2)


@pytest.mark.parametrize("rows", [6, 12, 60])
@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy"])
def test_the_interval_holds_the_truth_as_often_as_it_says(rows: int, kind: str) -> None:
    chance = np.random.default_rng(7)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        """Differences and weights."""
        weights = np.ceil(chance.lognormal(3, 0.7, count))
        if kind == "normal":
            return chance.normal(-0.2, 1, count), weights
        if kind == "skewed":  # and longer rows differ otherwise than short ones
            return 0.3 * np.log(weights / 20) - chance.gamma(2, 0.5, count), weights
        return chance.standard_t(3, count) / 2, weights

    differences, weights = draw(1_000_000)
    truth = differences @ weights / weights.sum()
    held = 0
    tries = 1000
    for _ in range(tries):
        differences, weights = draw(rows)
        found = paired_difference([0.0] * rows, differences.tolist(), weights.tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    print(f"{kind}, {rows} rows: the interval held the truth in {held / tries:.1%} of {tries}")
    assert 0.915 < held / tries < 0.985


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062047), (2, 4.3026527), (3, 3.1824463), (10, 2.2281389), (30, 2.0422725),
     (1000, 1.9623391), (10_000, 1.9602013), (10**6, 1.9599664)],
)  # fmt: skip
def test_students_t_is_that_of_the_tables(degrees: float, quantile: float) -> None:
    assert _student_t(degrees) == pytest.approx(quantile, abs=5e-6)


def test_a_share_has_wilsons_interval() -> None:
    # Brown, Cai and DasGupta's formula by hand.
    assert share_interval(45, 60) == pytest.approx((0.62763, 0.84223), abs=1e-4)


@pytest.mark.parametrize("n", [1, 7, 60, 1000])
def test_a_share_of_none_or_all_stays_between_0_and_1(n: int) -> None:
    none_low, none_high = share_interval(0, n)
    every_low, every_high = share_interval(n, n)
    assert none_low == 0.0
    assert 0 < none_high < 1
    assert every_high == 1.0
    assert 0 < every_low < 1


@pytest.mark.parametrize(("share", "n"), [(0.1, 20), (0.5, 10), (0.9, 60), (0.98, 60)])
def test_wilsons_interval_holds_the_truth_often_enough(share: float, n: int) -> None:
    chance = np.random.default_rng(3)
    found = [share_interval(int(count), n) for count in chance.binomial(n, share, 3000)]
    held = np.mean([low <= share <= high for low, high in found])
    assert 0.92 < held < 0.99


def test_a_95th_percentile_has_an_upper_end_from_72_values_on() -> None:
    assert quantile_ranks(71, 0.95)[1] is None
    assert quantile_ranks(72, 0.95)[1] == 72
    assert quantile_ranks(1, 0.5) == (None, None)
    assert quantile_ranks(1, 0.95) == (None, None)
    assert quantile_ranks(2, 0.95) == (1, None)


def binomial(count: int, n: int, share: float) -> float:
    return math.comb(n, count) * share**count * (1 - share) ** (n - count)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [5, 100, 500])
def test_the_ranks_cover_a_quantile_in_95_of_100_cases_and_no_wider_ones_are_needed(
    n: int, share: float
) -> None:
    low, high = quantile_ranks(n, share)
    below = np.cumsum([binomial(count, n, share) for count in range(n + 1)])
    assert below[0] > 0.025 if low is None else below[low - 1] <= 0.025 < below[low]
    if high is None:
        assert below[n - 1] < 0.975
    else:
        assert below[high - 2] < 0.975 <= below[high - 1]


def test_the_ranks_of_many_values_are_those_of_the_normal_distribution() -> None:
    low, high = quantile_ranks(1_000_000, 0.95)
    spread = 1.959964 * math.sqrt(1_000_000 * 0.95 * 0.05)
    assert low == pytest.approx(950_000 - spread, abs=2)
    assert high == pytest.approx(950_000 + spread, abs=2)


def test_the_interval_of_a_mean_is_students() -> None:
    # By hand: mean 0.45, s = 0.310913, t(3, 97.5%) = 3.182446.
    margin = 3.182446 * 0.310913 / 2
    assert mean_interval(4, 1.8, 0.04 + 0.16 + 0.09 + 0.81) == pytest.approx(
        (0.45 - margin, 0.45 + margin), abs=1e-4
    )
    assert mean_interval(1, 0.2, 0.04) is None
    assert mean_interval(3, 0.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize("n", [50, 400])
def test_the_interval_of_a_share_covers_94_to_97_percent_on_average(n: int) -> None:
    ends = [share_interval(some, n) for some in range(n + 1)]
    covered = [
        sum(binomial(some, n, p) for some, (low, high) in enumerate(ends) if low <= p <= high)
        for p in np.arange(0.05, 0.951, 0.05)
    ]
    assert 0.94 <= np.mean(covered) <= 0.97
