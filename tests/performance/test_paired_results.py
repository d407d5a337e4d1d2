"""Two sides that answered the same cases: who is right more often, faster and cheaper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelyard.evaluation.paired import mcnemar_exact
from modelyard.evaluation.sequential import Sequential
from modelyard.performance.baseline import against_baseline
from modelyard.performance.paired_results import pair_results
from modelyard.performance.results import LOAD, CaseResult, TestRun


def result(case: int | str, right: bool | None, **values: Any) -> CaseResult:
    facts: dict[str, Any] = {
        "check": "facts",
        "case": str(case),
        "repeat": 0,
        "question": f"Question {case}?",
        "answer": "So it is.",
        "score": None if right is None else float(right),
        "right": right,
        "why": "" if right else "it says something else",
        "outcome": "answered",
        "latency_s": 1.0,
        "cost_usd": 0.01,
        "started_s": 0.0,
        "ended_s": 1.0,
    }
    return CaseResult(**{**facts, **values})


def run_of(cases: list[CaseResult], **values: Any) -> TestRun:
    facts: dict[str, Any] = {
        "number": 7,
        "suite": "short",
        "suite_digest": "0" * 12,
        "environment": "development",
        "target": "primary",
        "started_at": "2026-11-30T10:00:00Z",
        "finished_at": "2026-11-30T10:01:00Z",
        "seed": 0,
        "repeats": 1,
        "concurrency": 1,
        "confidence": 0.95,
        "wall_s": 60.0,
        "requests": len(cases),
        "right": 0,
        "scored": 0,
        "figures": (),
        "cases": tuple(cases),
        "machine": "a machine",
        "version": "0",
        "verdict": "pass",
    }
    return TestRun(**{**facts, **values})


def side(rights: str, **values: Any) -> list[CaseResult]:
    """One case for each letter: `+` right, `-` wrong, `?` unknown."""
    known = {"+": True, "-": False, "?": None}
    return [result(n, known[letter], **values) for n, letter in enumerate(rights)]


def test_only_cases_that_one_side_has_right_tell_the_two_apart() -> None:
    paired = pair_results(side("++++++++++--+?"), side("--------++--++"), seed=1)
    assert (paired.pairs, paired.both, paired.neither) == (13, 3, 2)
    assert (paired.only_a, paired.only_b) == (8, 0)
    assert paired.p_value == mcnemar_exact(8, 0)
    assert (paired.better, paired.pairs_needed) == ("a", None)
    assert {case.case for case in paired.changed} == {str(n) for n in range(8)}
    assert paired.changed[0].right == "a"
    assert paired.changed[0].why == "it says something else"


def test_where_it_cannot_be_told_it_says_how_many_cases_would_do() -> None:
    paired = pair_results(side("+++-" * 5), side("+-++" * 5), seed=1)
    assert (paired.only_a, paired.only_b, paired.better, paired.pairs_needed) == (5, 5, None, None)
    unequal = pair_results(side("+++-" * 5), side("+-+-" * 4 + "++++"), seed=1)
    assert (unequal.only_a, unequal.only_b, unequal.better) == (4, 1, None)
    assert unequal.pairs_needed is not None
    assert unequal.pairs_needed > 20


def test_a_case_that_was_asked_several_times_is_one() -> None:
    twice = [result(1, False, repeat=0), result(1, True, repeat=1), result(1, True, repeat=2)]
    paired = pair_results(twice, [result(1, False)], seed=1)
    assert (paired.pairs, paired.only_a) == (1, 1)
    assert paired.score.a == pytest.approx(2 / 3)
    assert paired.changed[0].a == "So it is."


def test_times_are_a_ratio_and_costs_a_difference_of_the_same_cases() -> None:
    a = [result(n, True, latency_s=0.5 + n, cost_usd=0.01) for n in range(8)]
    b = [result(n, True, latency_s=1.0 + 2 * n, cost_usd=0.03) for n in range(9)]
    paired = pair_results(a, b, seed=1)
    assert (paired.latency.value, paired.latency.n) == (pytest.approx(2.0), 8)
    assert paired.latency.low == pytest.approx(2.0)
    assert paired.cost_usd.value == pytest.approx(0.02)
    assert paired.cost_usd.b == pytest.approx(0.03)


def test_what_is_unknown_on_one_side_is_in_no_figure() -> None:
    a = [result(1, True, cost_usd=None), result(2, True, outcome="degraded")]
    paired = pair_results(a, side("+++"), seed=1)
    assert (paired.cost_usd.n, paired.latency.n) == (1, 1)
    nothing = pair_results(a, [result(9, True)], seed=1)
    assert (nothing.pairs, nothing.score.value, nothing.latency.value) == (0, None, None)
    assert (nothing.p_value, nothing.better) == (1.0, None)


def test_requests_of_a_load_are_no_cases() -> None:
    assert pair_results([result(1, True, check=LOAD)], side("-+"), seed=1).pairs == 0


def test_a_comparison_that_may_end_early_goes_by_its_own_test() -> None:
    test = Sequential(most_pairs=200)
    for _ in range(7):
        test.add(True, False)
    paired = pair_results(side("+" * 7), side("-" * 7), seed=1, test=test)
    assert (paired.p_value, paired.better) == (test.p_value, test.better)
    assert mcnemar_exact(7, 0) < paired.p_value


def test_a_run_is_worse_than_its_baseline_only_when_the_test_says_so() -> None:
    baseline = run_of(side("+" * 20))
    worse = against_baseline(run_of(side("-" * 8 + "+" * 12), number=8), baseline)
    assert (worse.worse, worse.paired.only_a, worse.baseline, worse.name) == (True, 8, 7, "run 7")
    slightly = against_baseline(run_of(side("-" * 3 + "+" * 17)), baseline)
    assert not slightly.worse
    better = against_baseline(baseline, run_of(side("-" * 8 + "+" * 12)))
    assert (better.worse, better.paired.better) == (False, "b")


def test_what_makes_a_baseline_less_alike_is_said() -> None:
    other = run_of(side("++"), number=None, machine="another", suite_digest="1" * 12)
    found = against_baseline(run_of(side("++-")), replace(other, complete=False))
    assert (found.only_in_run, found.only_in_baseline) == (1, 0)
    assert [note.split(" ")[:2] for note in found.notes] == [["the", "baseline"]] * 3


def test_a_case_with_another_right_answer_is_not_compared() -> None:
    now = run_of(side("-" * 8 + "+" * 12), number=8)
    cases = tuple(
        replace(case, expected="Bob") if number < 8 else case
        for number, case in enumerate(now.cases)
    )
    found = against_baseline(replace(now, cases=cases), run_of(side("+" * 20)))
    assert (found.worse, found.paired.pairs, found.paired.only_a) == (False, 12, 0)
    assert "8 cases have another right answer than in run 7, and are left out" in found.notes
    none = against_baseline(
        replace(now, cases=tuple(replace(case, expected="Bob") for case in now.cases)),
        run_of(side("+" * 20)),
    )
    assert (none.worse, none.paired.pairs) == (False, 0)
