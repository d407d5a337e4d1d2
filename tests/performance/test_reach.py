"""What a run says of its own limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.performance.reach import smallest_gap, what_it_tells
from run_samples import CASES, accuracy, case_result, latency, sample_run


@pytest.mark.parametrize(
    ("pairs", "gap"), [(470, 0.05), (155, 0.10), (154, 0.11), (60, 0.20), (3, None)]
)
def test_the_smallest_gap_that_so_many_pairs_find(pairs: int, gap: float | None) -> None:
    assert smallest_gap(pairs) == gap


def test_the_sentences_name_questions_and_not_repeats() -> None:
    again = tuple(replace(case, repeat=1) for case in CASES)
    said = " ".join(what_it_tells(sample_run(cases=CASES + again, repeats=2)))
    assert "Between two configurations, 12 questions asked of both" in said
    assert "about 160 for a gap of 10 points and about 470 for a gap of 5 points" in said
    assert "facts (9), sources (3)" in said
    assert "asked 2 times" in said


def test_a_percentile_of_too_few_requests_is_named() -> None:
    open_ended = latency("latency_p95", 2.5, high=None, threshold=5.0)
    said = " ".join(what_it_tells(sample_run(figures=(open_ended,))))
    assert "The 95th percentile of latency is of 12 requests, too few for an upper end" in said
    closed = sample_run(figures=(latency("latency_p95", 2.5),))
    assert "too few" not in " ".join(what_it_tells(closed))


def test_a_large_suite_has_no_small_checks() -> None:
    cases = tuple(case_result("facts", f"Question {i}?", True) for i in range(500))
    said = " ".join(what_it_tells(sample_run(cases=cases, figures=(accuracy(500, 500),))))
    assert "find a gap of 5 points" in said
    assert "plainly broken" not in said


def test_what_is_not_scored_is_no_question() -> None:
    unknown = tuple(replace(case, right=None) for case in CASES)
    assert what_it_tells(sample_run(cases=unknown, figures=())) == (
        "With fewer than 30 questions a check finds what is plainly broken, and nothing finer: "
        "facts (9), sources (3)",
    )
    few = " ".join(what_it_tells(sample_run(cases=CASES[:1], figures=())))
    assert "1 question asked of both find no gap in four of five trials" in few


def test_nothing_asked_says_nothing() -> None:
    assert what_it_tells(sample_run(cases=(), figures=())) == ()


@pytest.mark.parametrize(("right", "questions"), [(12, 35), (6, 380), (0, 35)])
def test_the_number_for_a_finer_interval_is_that_of_the_interval_that_is_shown(
    right: int, questions: int
) -> None:
    said = " ".join(what_it_tells(sample_run(figures=(accuracy(right, 12),))))
    assert f"An interval of 10 points takes about {questions} questions" in said


def test_answers_of_the_search_alone_are_counted() -> None:
    silent = case_result("refusals", "Who?", True, outcome="nothing_found", model=None)
    said = " ".join(what_it_tells(sample_run(cases=(*CASES, silent))))
    assert "1 answer is right since nothing was found and no model was asked" in said
    assert "no model was asked" not in " ".join(what_it_tells(sample_run()))


def test_a_wide_interval_of_what_is_not_scored_is_explained() -> None:
    figure = replace(accuracy(9, 12), low=0.3, high=0.9, unknown=5)
    said = " ".join(what_it_tells(sample_run(figures=(figure,))))
    assert "60 points wide" in said
    assert "It holds whatever the 5 answers not scored may be" in said
    assert "An interval of 10 points" not in said
