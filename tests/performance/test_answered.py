"""What a run without an answer of a model says, and what it leaves open."""

from __future__ import annotations

from modelyard.performance.answered import (
    leave_out_silence,
    none_answered,
    notes_on_unscored,
    why_no_data,
)
from modelyard.performance.results import CaseResult, RunFigure
from modelyard.performance.shown import show_basis
from run_samples import case_result, sample_run

SILENT = case_result("refusals", "Who?", True, outcome="nothing_found", model=None, answer=None)
FAILED = case_result("facts", "Where?", False, outcome="failed", model=None, answer=None)
ANSWERED = case_result("facts", "When?", True)


def over_limit(question: str, check: str = "facts") -> CaseResult:
    return case_result(check, question, None, outcome="over_limit", why="the day's $1 are spent")


def test_silence_is_not_right_where_models_failed_and_none_answered() -> None:
    found, failed = leave_out_silence([SILENT, FAILED])
    assert (found.right, found.score, failed) == (None, None, FAILED)
    assert notes_on_unscored([found, failed]) == [f"1 answer is not scored: {found.why}"]
    assert none_answered([SILENT, FAILED])


def test_silence_is_right_where_a_model_answered_or_none_was_asked() -> None:
    for results in ([SILENT, FAILED, ANSWERED], [SILENT], [SILENT, over_limit("Why?")]):
        assert leave_out_silence(results) == results
        assert not none_answered(results)


def test_why_answers_are_not_scored_is_said_once_for_all() -> None:
    graded = [
        case_result("style", f"Say {n}.", None, outcome="answered", why=f"no grade: {n % 2}")
        for n in range(4)
    ]
    (note,) = notes_on_unscored([*graded, ANSWERED, over_limit("Why?")])
    assert note == "4 answers are not scored: no grade: 0; and 1 more reason"


def test_a_run_that_measured_nothing_has_no_data() -> None:
    spent = tuple(over_limit(f"Why {n}?") for n in range(3))
    assert why_no_data(sample_run(cases=spent, right=0, scored=0)) == (
        "no request was made: the day's $1 are spent"
    )
    ungraded = (case_result("style", "Say hello.", None, outcome="answered", why="no grade"),)
    assert why_no_data(sample_run(cases=ungraded, right=0, scored=0)) == (
        "no answer could be scored: no grade"
    )
    assert why_no_data(sample_run(cases=(*spent, ANSWERED), right=1, scored=1)) is None
    load = tuple(case_result("load", "Say hello.", None, outcome="answered") for _ in range(3))
    assert why_no_data(sample_run(cases=load, right=0, scored=0)) is None


def test_errors_are_named_and_so_is_what_is_not_counted() -> None:
    rate = RunFigure(name="error_rate", unit="share", value=0.5, n=2, unknown=3)
    cases = (FAILED, ANSWERED, SILENT, over_limit("Why?"), over_limit("How?"))
    assert show_basis(rate, sample_run(cases=cases)) == (
        "1 of 2: 1 failed; not counted: 1 nothing found, 2 over limit"
    )
    assert show_basis(rate, sample_run(cases=(ANSWERED,))) == "0 of 1"
