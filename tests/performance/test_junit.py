"""JUnit XML of a run: any XML reader takes it, and it fails when the command does."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element, fromstring

import pytest

from modelyard.performance.junit import render_junit
from modelyard.performance.results import TestRun
from run_samples import CASES, FIGURES, accuracy, case_result, sample_run


def read(run: TestRun) -> Element:
    return fromstring(render_junit(run))


def test_the_counts_are_those_of_the_tests() -> None:
    root = read(sample_run())
    assert root.attrib == {
        "name": "quick on profile:balanced in development",
        "tests": "15",
        "failures": "1",
        "errors": "0",
        "time": "49.000",
    }
    for suite in root:
        tests = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(tests)
        for kind, count in (("failure", "failures"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == sum(test.find(kind) is not None for test in tests)


def test_a_breach_fails_with_its_wrong_answers() -> None:
    (failure,) = read(sample_run()).iter("failure")
    assert failure.attrib["message"].startswith("66.7% (")
    assert failure.attrib["message"].endswith("and it must be at least 99%")
    assert "Question 3?\n  it does not say 29" in (failure.text or "")
    assert "Where is" not in (failure.text or "")


def test_what_nobody_can_tell_is_skipped() -> None:
    undecided = replace(accuracy(9, 12, threshold=0.7, verdict="cannot_tell"), more_needed=320)
    root = read(sample_run(figures=(undecided,), verdict="cannot_tell"))
    (skipped,) = root[0].iter("skipped")
    assert skipped.attrib["message"].endswith("at least 70%; about 320 more cases")
    assert root.attrib["failures"] == "0"


def test_a_wrong_answer_is_skipped_with_what_was_expected_and_said() -> None:
    facts = read(sample_run())[1]
    first = facts[0]
    skipped, output = first.find("skipped"), first.find("system-out")
    assert first.attrib["name"].startswith("Question 0? [")
    assert skipped is not None and skipped.attrib["message"] == "not right: it does not say 29"
    assert output is not None and output.text == "expected: 29\nanswer: 120 days."
    assert list(facts[1]) == []


def test_a_run_that_is_right_less_often_than_its_baseline_fails() -> None:
    asked = [case_result("facts", f"Question {i}?", False) for i in range(8)]
    right = [replace(case, right=True, score=1.0) for case in asked]
    run = sample_run(cases=tuple(asked), figures=(), verdict="cannot_tell")
    before = sample_run(cases=tuple(right), number=6)
    root = fromstring(render_junit(run, baseline=before))
    (failure,) = root.iter("failure")
    assert "run 6 is right more often" in failure.attrib["message"]
    assert "Question 7?" in (failure.text or "")
    assert fromstring(render_junit(run, baseline=run)).attrib["failures"] == "0"


def test_no_two_tests_have_one_name() -> None:
    again = tuple(replace(case, repeat=1) for case in CASES)
    tests = list(read(sample_run(cases=CASES + again)).iter("testcase"))
    names = {(test.attrib["classname"], test.attrib["name"]) for test in tests}
    assert len(names) == len(tests)


def test_a_run_in_which_nothing_was_answered_fails() -> None:
    lost = case_result("facts", "When?", None, why="refused")
    kept = replace(FIGURES[0], verdict="cannot_tell")
    root = read(sample_run(cases=(lost,), figures=(kept,)))
    assert root.attrib["failures"] == "1"
    assert "no request was answered" in (next(root.iter("failure")).text or "")


@pytest.mark.parametrize(
    "odd",
    ["\x00\x1b[2J", "\ud800", "\ufffe\uffff", "]]></failure>", "\"'<>&", "\u202e", "\x85\u2028"],
)
def test_any_character_can_be_in_a_question_or_an_answer(odd: str) -> None:
    case = replace(CASES[0], question=f"q{odd}", answer=f"a{odd}", why=f"w{odd}", expected=odd)
    text = render_junit(sample_run(cases=(case,), target=f"t{odd}"))
    root = fromstring(text.encode())
    (output,) = root[1].iter("system-out")
    assert "answer: a" in (output.text or "")


def test_a_huge_answer_is_cut() -> None:
    huge = replace(CASES[0], answer="word " * 200_000)
    assert len(render_junit(sample_run(cases=(huge,)))) < 20_000
