"""Two sides that answered the same cases, compared case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from modelyard.evaluation.paired import (
    mcnemar_exact,
    paired_bootstrap,
    paired_log_ratio,
    pairs_needed,
)
from modelyard.evaluation.sequential import LEVEL, Sequential
from modelyard.performance.comparison import ChangedCase, Gap, PairedResults, Side
from modelyard.performance.results import GIVEN, LOAD, CaseResult

_SHORTEST_S = 1e-4
"""A time below it, as of an answer that nobody had to wait for, counts as this long."""


def pair_results(
    of_a: Iterable[CaseResult],
    of_b: Iterable[CaseResult],
    *,
    seed: int,
    test: Sequential | None = None,
) -> PairedResults:
    """Compare the results of two sides, those of a load left out.

    A case that was asked several times is right when most of its answers are.
    seed: of the bootstraps.  test: the sequential test that followed them; None: McNemar's.
    """
    a, b = _by_case(of_a), _by_case(of_b)
    shared = [key for key in a if key in b]
    judged = [
        (key, right_a, right_b)
        for key in shared
        if (right_a := _is_right(a[key])) is not None and (right_b := _is_right(b[key])) is not None
    ]
    only_a = sum(x and not y for _, x, y in judged)
    only_b = sum(y and not x for _, x, y in judged)
    both = sum(x and y for _, x, y in judged)
    p_value = mcnemar_exact(only_a, only_b) if test is None else test.p_value
    better: Side | None = None
    if p_value <= LEVEL:
        better = "a" if only_a > only_b else "b"
    return PairedResults(
        pairs=len(judged),
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=len(judged) - both - only_a - only_b,
        p_value=p_value,
        better=better,
        pairs_needed=None if better else _needed(only_a, only_b, len(judged)),
        score=_difference(_both(a, b, _score), [a[key][0].weight for key in shared], seed),
        latency=_ratio(_both(a, b, _log_time)),
        cost_usd=_difference(_both(a, b, _cost), [1.0] * len(shared), seed),
        changed=tuple(_changed(a, b, judged)),
    )


def _by_case(results: Iterable[CaseResult]) -> dict[tuple[str, str], list[CaseResult]]:
    """The results of each case, all repeats together."""
    found: dict[tuple[str, str], list[CaseResult]] = {}
    for result in results:
        if result.check != LOAD:
            found.setdefault((result.check, result.case), []).append(result)
    return found


def _is_right(results: Sequence[CaseResult]) -> bool | None:
    known = [result.right for result in results if result.right is not None]
    return 2 * sum(known) > len(known) if known else None


def _mean(
    results: Sequence[CaseResult], take: Callable[[CaseResult], float | None]
) -> float | None:
    """The mean over the repeats of a case; None where one of them does not have it."""
    values = [take(result) for result in results]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _score(result: CaseResult) -> float | None:
    return result.score


def _cost(result: CaseResult) -> float | None:
    return result.cost_usd


def _log_time(result: CaseResult) -> float | None:
    if result.outcome not in GIVEN or result.latency_s is None:
        return None
    return math.log(max(result.latency_s, _SHORTEST_S))


def _both(
    a: Mapping[tuple[str, str], Sequence[CaseResult]],
    b: Mapping[tuple[str, str], Sequence[CaseResult]],
    take: Callable[[CaseResult], float | None],
) -> list[tuple[float, float] | None]:
    """What both sides have of each case that both were asked; None where one does not."""
    found: list[tuple[float, float] | None] = []
    for key in a:
        if key in b:
            of_a, of_b = _mean(a[key], take), _mean(b[key], take)
            found.append(None if of_a is None or of_b is None else (of_a, of_b))
    return found


_UNKNOWN = Gap(a=None, b=None, value=None, low=None, high=None, n=0)


def _difference(
    pairs: Sequence[tuple[float, float] | None], weights: Sequence[float], seed: int
) -> Gap:
    known = [(pair, weight) for pair, weight in zip(pairs, weights, strict=True) if pair]
    if not known:
        return _UNKNOWN
    total = math.fsum(weight for _, weight in known)
    of_a, of_b = (
        math.fsum(pair[side] * weight for pair, weight in known) / total for side in (0, 1)
    )
    value, low, high = paired_bootstrap(
        [pair[1] - pair[0] for pair, _ in known], [weight for _, weight in known], seed=seed
    )
    return Gap(a=of_a, b=of_b, value=value, low=low, high=high, n=len(known))


def _ratio(logs: Sequence[tuple[float, float] | None]) -> Gap:
    """The ratio of times that are given by their logarithms."""
    known = [pair for pair in logs if pair]
    if not known:
        return _UNKNOWN
    a, b = ([math.exp(pair[side]) for pair in known] for side in (0, 1))
    value, low, high = paired_log_ratio(a, b)
    of_a, of_b = (math.exp(math.fsum(pair[side] for pair in known) / len(known)) for side in (0, 1))
    return Gap(a=of_a, b=of_b, value=value, low=low, high=high, n=len(known))


def _needed(only_a: int, only_b: int, pairs: int) -> int | None:
    """How many pairs a gap like this one takes; None without one."""
    if only_a == only_b:
        return None
    return pairs_needed((only_b - only_a) / pairs, (only_a + only_b) / pairs)


def _changed(
    a: Mapping[tuple[str, str], Sequence[CaseResult]],
    b: Mapping[tuple[str, str], Sequence[CaseResult]],
    judged: Iterable[tuple[tuple[str, str], bool, bool]],
) -> Iterable[ChangedCase]:
    for key, a_right, b_right in judged:
        if a_right == b_right:
            continue
        of_a, of_b = _example(a[key], right=a_right), _example(b[key], right=b_right)
        yield ChangedCase(
            check=of_a.check,
            case=of_a.case,
            question=of_a.question,
            right="a" if a_right else "b",
            a=of_a.answer,
            b=of_b.answer,
            why=(of_b if a_right else of_a).why,
        )


def _example(results: Sequence[CaseResult], *, right: bool) -> CaseResult:
    """A result of a case that is as most of them are."""
    return next(result for result in results if result.right is right)
