"""How often intervals hold the truth: exact, as sums over the binomial distribution by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelyard.evaluation.statistics import quantile_ranks, share_interval

SHARES = np.arange(0.05, 0.951, 0.01)


def _wilson_coverage(n: int) -> np.ndarray:
    """How often the interval of a share of n holds the share, for each of SHARES."""
    counts = np.arange(n + 1)
    ends = np.array([share_interval(int(count), n) for count in counts])
    chances = stats.binom.pmf(counts[:, None], n, SHARES[None, :])
    holds = (ends[:, :1] <= SHARES) & (ends[:, 1:] >= SHARES)
    return np.asarray((chances * holds).sum(axis=0))


@pytest.mark.parametrize("n", [50, 72, 100, 200, 470, 1000, 3000])
def test_wilsons_interval_holds_a_share_in_94_to_97_of_100_at_the_mean(n: int) -> None:
    coverage = _wilson_coverage(n)
    print(f"Wilson, n = {n}: mean {coverage.mean():.2%}, least {coverage.min():.2%}")
    assert 0.94 <= coverage.mean() <= 0.97


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_ranks_hold_a_quantile_in_at_least_95_of_100(share: float) -> None:
    least = 1.0
    for n in (*range(1, 400), 1000, 5000):
        low, high = quantile_ranks(n, share)
        below_low = stats.binom.cdf(low - 1, n, share) if low else 0.0
        above_high = stats.binom.sf(high - 1, n, share) if high else 0.0
        least = min(least, 1 - below_low - above_high)
    print(f"order statistics, quantile {share}: least {least:.2%}")
    assert least >= 0.95
