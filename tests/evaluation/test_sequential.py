from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.special import betaln

from modelyard.evaluation.sequential import LEVEL, Sequential, chance_of_crossing


def _first_decisions(
    chance: np.random.Generator, p_a: float, p_b: float, *, runs: int, pairs: int
) -> np.ndarray:
    """When each of many open comparisons would be decided; `pairs` + 1: not within these.

    int [runs]. The same mixture by scipy, over whole arrays.
    """
    a, b = chance.random((runs, pairs)) < p_a, chance.random((runs, pairs)) < p_b
    only_a, only_b = np.cumsum(a & ~b, axis=1), np.cumsum(b & ~a, axis=1)
    ratio = betaln(5 + only_a, 5 + only_b) - betaln(5, 5) + (only_a + only_b) * math.log(2)
    crossed = ratio >= math.log(1 / LEVEL)
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, pairs + 1)


def _compare(pairs: list[tuple[bool, bool]], most_pairs: int | None) -> tuple[int, str | None]:
    """After how many pairs a comparison that is looked at after each is decided, and for whom."""
    test = Sequential(most_pairs=most_pairs)
    for number, (a, b) in enumerate(pairs, 1):
        test.add(a, b)
        if test.better is not None:
            return number, test.better
    return len(pairs) + 1, None


def test_the_p_value_is_that_of_the_mixture_by_scipy() -> None:
    test = Sequential()
    for _ in range(9):
        test.add(True, False)
    test.add(False, True)
    test.add(True, True)
    largest = max(betaln(5 + 9, 5) - betaln(5, 5) + 9 * math.log(2), 0)
    assert (test.pairs, test.only_a, test.only_b) == (11, 9, 1)
    assert test.p_value == pytest.approx(math.exp(-largest))


def test_pairs_of_which_both_or_neither_are_right_say_nothing() -> None:
    test = Sequential()
    for right in (True, False) * 500:
        test.add(right, right)
    assert (test.p_value, test.better) == (1.0, None)


def test_it_is_decided_for_the_one_that_is_right_more_often() -> None:
    assert _compare([(True, False)] * 40, None)[1] == "a"
    assert _compare([(False, True)] * 40, None)[1] == "b"


def test_what_was_decided_once_stays_decided() -> None:
    test = Sequential()
    for _ in range(20):
        test.add(True, False)
    before = test.p_value
    for _ in range(5):
        test.add(False, True)
    assert test.p_value == before <= LEVEL
    assert test.better == "a"


def test_more_pairs_than_were_said_to_be_possible_are_a_bug() -> None:
    test = Sequential(most_pairs=1)
    test.add(True, False)
    with pytest.raises(ValueError, match="more pairs"):
        test.add(True, False)
    with pytest.raises(ValueError, match="at least 1"):
        Sequential(most_pairs=0)


def test_the_chance_of_crossing_is_that_of_all_ways_that_coins_can_fall() -> None:
    for threshold in (0.05, 0.4, 1.0):
        crossed = 0
        for coins in product((0, 1), repeat=10):
            heads = np.cumsum(coins)
            thrown = np.arange(1, 11)
            ratio = betaln(5 + heads, 5 + thrown - heads) - betaln(5, 5) + thrown * math.log(2)
            crossed += bool((ratio >= threshold - 1e-12).any())
        assert chance_of_crossing(threshold, 10) == pytest.approx(crossed / 2**10)


def test_where_the_end_is_known_the_level_is_nearly_used_and_never_exceeded() -> None:
    """At the threshold just reached at each possible end, equal models cross it in at most 5%."""
    for most in (40, 120, 300):
        thresholds = [
            ratio
            for ratio in np.linspace(1.0, 3.0, 41)
            if chance_of_crossing(float(ratio), most) <= LEVEL
        ]
        assert 0.02 <= chance_of_crossing(float(thresholds[0]), most) <= LEVEL
        assert thresholds[0] < math.log(1 / LEVEL)  # sooner than a comparison without an end


def test_with_a_known_end_it_is_decided_no_later() -> None:
    chance = np.random.default_rng(7)
    for _ in range(20):
        pairs = [(bool(a < 0.9), bool(b < 0.6)) for a, b in chance.random((150, 2))]
        assert _compare(pairs, 150)[0] <= _compare(pairs, None)[0]


@pytest.mark.parametrize("p", [0.5, 0.75, 0.95])
def test_equal_models_are_told_apart_in_at_most_one_of_twenty(p: float) -> None:
    first = _first_decisions(np.random.default_rng(17), p, p, runs=400, pairs=400)
    assert (first <= 400).mean() <= LEVEL


def test_a_gap_is_found_and_by_the_better_one() -> None:
    chance = np.random.default_rng(19)
    found = []
    for _ in range(12):
        pairs = [(bool(a < 0.9), bool(b < 0.6)) for a, b in chance.random((200, 2))]
        found.append(_compare(pairs, 200))
    assert {better for _, better in found} == {"a"}
    assert np.median([number for number, _ in found]) < 80


def _thresholds(most: int) -> np.ndarray:
    """The logarithm of the ratio at which it is decided, by how many pairs may still differ.

    float64 [most + 1].
    """
    found = np.full(most + 1, np.inf)
    for differing in range(1, most + 1):
        low, high = 0.0, 3.0
        for _ in range(14):
            middle = (low + high) / 2
            if chance_of_crossing(middle, differing) <= LEVEL:
                high = middle
            else:
                low = middle
        found[differing] = high
    return found


def _first_within(
    chance: np.random.Generator, p_a: float, p_b: float, thresholds: np.ndarray, *, runs: int
) -> np.ndarray:
    """As `_first_decisions`, of comparisons with a known end."""
    most = len(thresholds) - 1
    a, b = chance.random((runs, most)) < p_a, chance.random((runs, most)) < p_b
    only_a, only_b = np.cumsum(a & ~b, axis=1), np.cumsum(b & ~a, axis=1)
    ratio = betaln(5 + only_a, 5 + only_b) - betaln(5, 5) + (only_a + only_b) * math.log(2)
    largest = np.maximum.accumulate(ratio, axis=1)
    alike = np.arange(1, most + 1) - only_a - only_b
    crossed = largest >= thresholds[most - alike] - 1e-9
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, most + 1)


def test_whole_arrays_decide_as_one_comparison_after_the_other() -> None:
    thresholds = _thresholds(40)
    first = _first_within(np.random.default_rng(31), 0.9, 0.5, thresholds, runs=20)
    chance = np.random.default_rng(31)
    a, b = chance.random((20, 40)) < 0.9, chance.random((20, 40)) < 0.5
    for number in range(20):
        pairs = list(zip(a[number].tolist(), b[number].tolist(), strict=True))
        assert _compare(pairs, 40)[0] == first[number]


@pytest.mark.soak
def test_the_figures_of_the_page() -> None:
    """False alarms, and after how many pairs it is decided; docs/comparing.md has them."""
    chance = np.random.default_rng(23)
    for p in (0.5, 0.75, 0.9):
        first = _first_decisions(chance, p, p, runs=2_000, pairs=1_000)
        print(f"equal sides, {p:.2f}: {(first <= 1_000).mean():.1%} told apart in 1,000 pairs")
        assert (first <= 1_000).mean() <= LEVEL
    gaps = ((0.9, 0.6), (0.8, 0.7), (0.8, 0.75))
    for p_a, p_b in gaps:
        first = _first_decisions(chance, p_a, p_b, runs=2_000, pairs=4_000)
        print(f"{p_a:.2f} against {p_b:.2f}, open: {np.median(first):.0f} pairs at the median")
    for most in (200, 300, 400):
        thresholds = _thresholds(most)
        for p in (0.5, 0.75, 0.9):
            alarms = (_first_within(chance, p, p, thresholds, runs=20_000) <= most).mean()
            print(f"equal sides, {p:.2f}: {alarms:.2%} told apart within {most} pairs")
            assert alarms <= LEVEL + 3 * math.sqrt(LEVEL / 20_000)
        for p_a, p_b in gaps[:2]:
            first = _first_within(chance, p_a, p_b, thresholds, runs=10_000)
            print(
                f"{p_a:.2f} against {p_b:.2f}, at most {most}: {np.median(first):.0f} pairs at the "
                f"median, {(first <= most).mean():.0%} decided"
            )
