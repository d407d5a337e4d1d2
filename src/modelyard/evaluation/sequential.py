"""A comparison of two models that may be looked at after every pair, and ended as soon as it is
decided.

Of each pair of answers to a case it counts whether only one is right. If the models are equally
good, each such pair is a fair coin. Against the coin stands a mixture of all other coins, weighted
by a symmetric beta distribution; how much more likely it makes what was seen has a closed form, and
is a martingale as long as the coin is fair. So it rarely grows large by chance, however often
somebody looks.

Sources: Robbins, Annals of Mathematical Statistics 41(5), 1970, for the mixture; Johari, Koomen,
Pekelis and Walsh, Always Valid Inference, Operations Research 70(3), 2022, for the p-value.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np

LEVEL = 0.05
"""The largest chance with which two equal models are told apart."""
_CONCENTRATION = 5.0
"""Of the beta distribution: among 2 to 20 the one that tells .80 from .70 apart soonest, within
what a simulation can tell, and .90 from .60 nearly as soon as 2 does."""

Better = Literal["a", "b"]


class Sequential:
    """A comparison under way.

    most_pairs: how many pairs there will be at most, where that is known beforehand. The chance of
        a false alarm is then computed exactly for as many pairs as may still differ, and the
        comparison is decided sooner; without it, the comparison may go on for ever.
    """

    def __init__(self, *, most_pairs: int | None = None) -> None:
        if most_pairs is not None and most_pairs < 1:
            raise ValueError("most_pairs is at least 1")
        self.most_pairs = most_pairs
        self.pairs = 0
        self.only_a = 0
        """Pairs of which only A was right."""
        self.only_b = 0
        self._largest = 0.0
        """The largest logarithm of the mixture's likelihood ratio so far."""

    def add(self, a_right: bool, b_right: bool) -> None:
        """Count a pair. Raises ValueError beyond `most_pairs`."""
        if self.pairs == self.most_pairs:
            raise ValueError("there are more pairs than were said to be possible")
        self.pairs += 1
        if a_right != b_right:
            self.only_a += a_right
            self.only_b += b_right
            self._largest = max(self._largest, _log_ratio(self.only_a, self.only_b))

    @property
    def p_value(self) -> float:
        """The chance that equal models would at any time until the end look so different.

        It never grows where the number of pairs is open.
        """
        if self.most_pairs is None:
            return math.exp(-self._largest)
        return chance_of_crossing(self._largest, self.most_pairs - self._alike)

    @property
    def better(self) -> Better | None:
        """The better model; None as long as it is not decided."""
        if self.p_value > LEVEL:
            return None
        return "a" if self.only_a > self.only_b else "b"

    @property
    def _alike(self) -> int:
        return self.pairs - self.only_a - self.only_b


@lru_cache(maxsize=512)
def chance_of_crossing(log_ratio: float, differing: int) -> float:
    """The chance that fair coins ever make the mixture so much more likely.

    log_ratio: the logarithm of how much more likely.  differing: how many coins are thrown.
    Exact: it follows the distribution of the number of heads, without the ways that have crossed.
    The number of pairs that differ is not known beforehand, and need not be: of equal models it
    says nothing of which one is right, and more coins only make the chance larger.
    """
    if log_ratio <= 0:
        return 1.0
    table = _lgamma_table(differing)
    crossed, alive = 0.0, np.ones(1)
    for thrown in range(1, differing + 1):
        heads = np.zeros(thrown + 1)
        heads[:-1] += alive / 2
        heads[1:] += alive / 2
        ratios = table[: thrown + 1] + table[thrown::-1] + _of_all(thrown)
        across = ratios >= log_ratio - 1e-12  # what is equal but for rounding has crossed
        crossed += float(heads[across].sum())
        heads[across] = 0.0
        alive = heads
    return min(1.0, crossed)


def _log_ratio(heads: int, tails: int) -> float:
    """The logarithm of how much more likely the mixture makes these coins than a fair one."""
    return (
        math.lgamma(_CONCENTRATION + heads)
        + math.lgamma(_CONCENTRATION + tails)
        + _of_all(heads + tails)
    )


def _of_all(thrown: int) -> float:
    """The part of the logarithm that depends on how many coins there are."""
    whole = math.lgamma(2 * _CONCENTRATION) - math.lgamma(2 * _CONCENTRATION + thrown)
    return whole - 2 * math.lgamma(_CONCENTRATION) + thrown * math.log(2)


@lru_cache(maxsize=4)
def _lgamma_table(differing: int) -> np.ndarray:
    """lgamma(concentration + count), float64 [differing + 1]."""
    return np.array([math.lgamma(_CONCENTRATION + count) for count in range(differing + 1)])
