"""Figures over results, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.configs.kinds.test_suites import AccuracyCheck, Load, TestSuite, Thresholds
from modelyard.evaluation.statistics import share_interval
from modelyard.performance.figures import Measured, build_figures
from modelyard.performance.results import LOAD, CaseResult, RunFigure
from modelyard.performance.verdicts import judge_least, judge_most, sum_up


def result(number: int, *, right: bool | None = True, **changes: Any) -> CaseResult:
    values: dict[str, Any] = {
        "check": "people",
        "case": f"{number:012x}",
        "repeat": 0,
        "question": f"Number {number}?",
        "score": None if right is None else float(right),
        "outcome": "answered",
        "latency_s": 1.0,
        "cost_usd": 0.01,
        "output_tokens": 10,
        "started_s": float(number),
        "ended_s": float(number) + 1,
    }
    return CaseResult(right=right, **(values | changes))


def figures(
    results: list[CaseResult],
    *,
    base: list[CaseResult] | None = None,
    check: dict[str, Any] | None = None,
    confidence: float = 0.95,
    load_s: float = 10.0,
    **thresholds: float,
) -> dict[tuple[str, str | None], RunFigure]:
    suite = TestSuite(
        description="Made up",
        checks=(AccuracyCheck(name="people", dataset="people", **(check or {})),),
        load=Load(),
        thresholds=Thresholds(**thresholds),
        confidence=confidence,
    )
    measured = Measured(suite=suite, results=results, base=base or [], cases_s=20.0, load_s=load_s)
    return {(each.name, each.part): each for each in build_figures(measured)}


def test_the_confidence_of_the_suite_is_that_of_its_intervals() -> None:
    results = [result(number, right=number < 40) for number in range(50)]
    for confidence in (0.8, 0.99):
        found = figures(results, confidence=confidence)["accuracy", None]
        assert (found.low, found.high) == pytest.approx(
            share_interval(40, 50, confidence=confidence)
        )


def test_what_is_unknown_widens_the_interval_to_all_that_it_may_be() -> None:
    results = [result(number) for number in range(50)]
    results += [result(number, right=None) for number in range(50, 60)]
    found = figures(results, accuracy=0.9)["accuracy", None]
    assert (found.value, found.n, found.unknown, found.verdict) == (1.0, 50, 10, "cannot_tell")
    assert found.low == pytest.approx(share_interval(50, 60)[0])
    assert found.high == 1.0


def test_a_percentile_of_repeated_questions_is_over_questions() -> None:
    once = [result(number, latency_s=float(number)) for number in range(80)]
    single = figures(once, latency_p95_s=90)["latency_p95", None]
    assert (single.n, single.verdict) == (80, "pass")
    again = [
        result(number % 20, latency_s=float(number), repeat=number // 20) for number in range(80)
    ]
    repeated = figures(again, latency_p95_s=90)["latency_p95", None]
    assert (repeated.n, repeated.high, repeated.verdict) == (20, None, "cannot_tell")
    assert repeated.value == single.value
    assert repeated.more_needed == 53


def test_a_percentile_that_is_kept_needs_an_upper_end() -> None:
    few = figures([result(number) for number in range(2)], latency_p50_s=5.0, latency_p95_s=5.0)
    for name, least in (("latency_p50", 6), ("latency_p95", 72)):
        found = few[name, None]
        assert (found.verdict, found.high) == ("cannot_tell", None)
        assert found.more_needed is not None
        assert found.more_needed + 2 >= least
        enough = figures(
            [result(number) for number in range(2 + found.more_needed)],
            latency_p50_s=5.0,
            latency_p95_s=5.0,
        )
        assert enough[name, None].verdict == "pass"


def test_each_request_of_a_load_is_one_of_its_own() -> None:
    load = [
        result(number % 5, right=None, check=LOAD, repeat=number, latency_s=number / 10)
        for number in range(100)
    ]
    found = figures([result(1), *load], latency_p95_s=20.0)
    assert (found["latency_p95", None].n, found["latency_p95", None].verdict) == (100, "pass")
    assert found["requests_per_s", None].value == 10.0
    assert found["tokens_per_s", None].value == 100.0
    assert found["accuracy", None].n == 1


def test_no_time_and_no_rate_is_made_of_what_failed() -> None:
    failed = [
        result(number, right=False, outcome="timeout", latency_s=None, cost_usd=None)
        for number in range(5)
    ]
    found = figures(failed, latency_p95_s=1.0, cost_per_request_usd=1.0, error_rate=0.5)
    assert found["latency_p95", None].value is None
    assert found["latency_p95", None].verdict == "cannot_tell"
    assert (found["cost_per_request", None].value, found["cost_per_request", None].unknown) == (
        None,
        5,
    )
    assert found["cost_per_request", None].verdict == "cannot_tell"
    assert found["cost_total", None].value is None
    assert (found["error_rate", None].value, found["error_rate", None].verdict) == (1.0, "breach")
    assert found["requests_per_s", None].value is None


def test_a_mean_cost_of_which_too_much_is_unknown_passes_nothing() -> None:
    known = [result(number, cost_usd=0.01 + number / 1e6) for number in range(18)]
    some = [*known, *(result(number, cost_usd=None) for number in range(18, 20))]
    assert figures(some, cost_per_request_usd=0.1)["cost_per_request", None].verdict == "pass"
    more = [*some, result(20, cost_usd=None)]
    found = figures(more, cost_per_request_usd=0.1)["cost_per_request", None]
    assert (found.verdict, found.unknown, found.more_needed) == ("cannot_tell", 3, None)
    assert figures(known, cost_per_request_usd=0.005)["cost_per_request", None].verdict == "breach"
    close = figures(known, cost_per_request_usd=0.01001)["cost_per_request", None]
    assert close.verdict == "cannot_tell"
    assert close.more_needed is not None


def test_requests_that_no_model_was_to_answer_are_no_errors() -> None:
    results = [
        *(result(number) for number in range(8)),
        result(8, right=False, outcome="degraded"),
        result(9, right=False, outcome="failed", latency_s=None),
        result(10, right=None, outcome="over_limit", latency_s=None, cost_usd=0.0),
        result(11, right=True, outcome="nothing_found", latency_s=None, cost_usd=0.0),
    ]
    found = figures(results)
    error_rate = found["error_rate", None]
    assert (error_rate.value, error_rate.n, error_rate.unknown) == (0.2, 10, 2)
    assert found["cost_per_request", None].n == 10


def test_not_worse_than_the_base_is_judged_by_its_margin() -> None:
    check = {"not_worse_than": "base", "margin": 0.1}

    def against(base_right: int, right: int, n: int) -> RunFigure:
        return figures(
            [result(number, right=number < right) for number in range(n)],
            base=[result(number, right=number < base_right) for number in range(n)],
            check=check,
        )["accuracy_over_base", "people"]

    same = against(50, 50, 100)
    assert (same.value, same.n, same.threshold, same.verdict) == (0.0, 100, -0.1, "pass")
    assert against(80, 40, 100).verdict == "breach"
    few = against(5, 5, 8)
    assert few.verdict == "cannot_tell"
    assert few.more_needed is not None
    assert against(40, 80, 100).verdict == "pass"


def test_a_threshold_is_kept_or_breached_by_a_whole_interval() -> None:
    assert judge_least(0.8, 0.9, 0.8) == judge_most(0.8, 0.9, 0.9) == "pass"
    assert judge_least(0.7, 0.79, 0.8) == judge_most(1.1, 1.2, 1.0) == "breach"
    assert judge_least(0.7, 0.9, 0.8) == judge_most(0.9, None, 1.0) == "cannot_tell"
    assert judge_least(None, None, 0.8) == judge_most(None, None, 1.0) == "cannot_tell"


def test_a_run_is_as_good_as_the_worst_of_its_figures() -> None:
    def judged(*verdicts: Any) -> list[RunFigure]:
        return [
            RunFigure(name="accuracy", unit="share", value=1.0, verdict=verdict)
            for verdict in verdicts
        ]

    def verdict(*verdicts: Any, complete: bool = True, none_answered: bool = False) -> str:
        return sum_up(judged(*verdicts), complete=complete, none_answered=none_answered)

    assert verdict("pass", None) == "pass"
    assert verdict("pass", "cannot_tell") == verdict(None) == verdict() == "cannot_tell"
    assert verdict("pass", "cannot_tell", "breach") == "breach"
    assert verdict("pass", complete=False) == "cannot_tell"
    assert verdict("breach", complete=False) == "breach"
    assert verdict(None, none_answered=True) == "breach"
