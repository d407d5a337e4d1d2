"""The page of a run: verdict first, figures true to the run, and harmless whatever was answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from html_pages import Page, assert_self_contained
from modelyard.performance.page import render_run
from modelyard.performance.results import RunFigure, Verdict
from run_samples import CASES, FIGURES, accuracy, case_result, sample_run

POISON = "</script><script>alert('x')</script>\"'&<img src=x onerror=alert(1)>{{ 7 * 7 }}]]>"


def section(page: Page, heading: str) -> str:
    return next(text for text in page.texts["section"] if text.strip().startswith(heading))


def test_the_headline_names_what_is_breached() -> None:
    assert Page(render_run(sample_run())).headline() == (
        "profile:balanced breaches quick: accuracy of facts 66.7% (at least 99%)."
    )


@pytest.mark.parametrize(
    ("verdict", "figure", "headline"),
    [
        (
            "pass",
            accuracy(60, 60, threshold=0.7, verdict="pass"),
            "profile:balanced passes: 1 threshold of quick kept, 9 of 12 answers right.",
        ),
        (
            "cannot_tell",
            replace(accuracy(9, 12, threshold=0.7, verdict="cannot_tell"), more_needed=320),
            "It cannot be told whether profile:balanced passes quick: "
            "accuracy 75% (at least 70%, about 320 more cases).",
        ),
        (
            "breach",
            accuracy(9, 12),
            "profile:balanced breaches quick: 9 of 12 answers right.",
        ),
    ],
)
def test_the_claim_is_that_of_the_run(verdict: Verdict, figure: RunFigure, headline: str) -> None:
    run = sample_run(verdict=verdict, figures=(figure,))
    assert Page(render_run(run)).headline() == headline


def test_every_wrong_answer_is_there_with_its_reason() -> None:
    answers = section(Page(render_run(sample_run())), "Answers")
    assert "facts 3 of 9 not right" in answers
    for place in (0, 3, 6):
        assert f"Question {place}?" in answers
    assert "Question 1?" not in answers
    assert answers.count("it does not say 29") == 3
    assert "sources 0 of 3 not right" in answers


def test_a_request_of_the_load_without_an_answer_is_named() -> None:
    lost = case_result("load", "Where is 1?", None, why="no answer within 60 s", outcome="timeout")
    answers = section(Page(render_run(sample_run(cases=(*CASES, lost)))), "Answers")
    assert "Requests of the load without an answer 1 of 1 not right" in answers
    assert "no answer within 60 s" in answers


def test_a_case_asked_again_is_one_line_that_counts_its_wrong_answers() -> None:
    asked = [case_result("facts", "When?", i == 0, repeat=i) for i in range(3)]
    html = render_run(sample_run(cases=tuple(asked), repeats=3))
    answers = section(Page(html), "Answers")
    assert "facts 1 of 1 not right" in answers
    assert "2 of 3 times" in answers


def test_what_was_right_in_the_baseline_comes_first_and_says_so() -> None:
    before = sample_run(cases=tuple(replace(case, right=True) for case in CASES[6:7]))
    answers = section(Page(render_run(sample_run(), baseline=before)), "Answers")
    assert answers.index("Question 6?") < answers.index("Question 0?")
    assert "right in the baseline" in answers
    assert "baseline" not in section(Page(render_run(sample_run())), "Answers")


def test_a_run_that_is_right_less_often_than_its_baseline_says_so_first() -> None:
    asked = [case_result("facts", f"Question {i}?", False) for i in range(8)]
    right = [replace(case, right=True, score=1.0) for case in asked]
    run = sample_run(cases=tuple(asked), figures=(), verdict="cannot_tell")
    page = Page(render_run(run, baseline=sample_run(cases=tuple(right), number=6)))
    assert page.headline() == (
        "profile:balanced is right less often than run 6: 8 cases right only there, 0 only now."
    )
    said = section(page, "Baseline")
    assert "run 6 is right more often" in said
    assert "right answers" in said
    assert "Baseline" not in "".join(Page(render_run(run)).texts["nav"])


def test_the_baseline_is_drawn_beside_the_run() -> None:
    assert render_run(sample_run(), baseline=sample_run()).count('class="dot before"') == 6
    assert 'class="dot before"' not in render_run(sample_run())


def test_markup_in_answers_stays_text() -> None:
    def poisoned(text: str) -> str:
        return render_run(
            sample_run(
                target=f"x{text}",
                notes=(f"y{text}",),
                cases=tuple(
                    replace(
                        case,
                        question=case.question + text,
                        expected=f"29{text}",
                        answer=f"120{text}",
                        why=case.why and case.why + text,
                        tags=(f"leave{text}",),
                        model=f"m{text}",
                    )
                    for case in CASES
                ),
                figures=tuple(
                    replace(figure, part=figure.part and figure.part + text) for figure in FIGURES
                ),
            )
        )

    page = Page(poisoned(POISON))
    assert page.elements == Page(poisoned("")).elements
    assert "49" not in page.texts["title"][0]
    assert_self_contained(poisoned("<b>"))


def test_control_and_bidi_characters_are_written_out() -> None:
    odd = replace(CASES[0], answer="a\u202etxt.exe\x1b[2J\x00\ud800")
    html = render_run(sample_run(cases=(odd,)))
    html.encode()
    assert "a\\u202etxt.exe\\x1b[2J\\x00\\ud800" in html


def test_a_huge_answer_leaves_a_small_page() -> None:
    huge = replace(CASES[0], answer="word " * 200_000)
    html = render_run(sample_run(cases=(huge,)))
    assert "… and 999,000 more characters" in html
    assert len(html) < 100_000


def test_of_very_many_wrong_answers_the_first_are_shown() -> None:
    many = tuple(case_result("facts", f"Question {i}?", False) for i in range(2000))
    page = Page(render_run(sample_run(cases=many)))
    assert "The first 200 of 2,000; `models report --json` has all." in page.texts["main"][0]
    assert len(page.texts["tr"]) < 300


def test_a_long_name_is_cut_in_the_chart_and_whole_in_the_table() -> None:
    name = "a" * 64
    html = render_run(sample_run(figures=(accuracy(6, 9, over="check", part=name),)))
    assert f"{'a' * 29}… · 9" in html
    assert f"accuracy of {name}" in section(Page(html), "Figures")


def test_a_run_that_asked_nothing_has_a_page() -> None:
    run = sample_run(cases=(), figures=(), requests=0, right=0, scored=0, verdict="cannot_tell")
    page = Page(render_run(run))
    assert "Nothing was asked." in page.texts["main"][0]
    assert page.headline().endswith("0 of 0 answers right.")


def test_unknown_values_are_said_to_be_unknown() -> None:
    nothing = RunFigure(
        name="cost_per_request",
        unit="usd",
        value=None,
        unknown=12,
        threshold=0.1,
        verdict="cannot_tell",
    )
    figures = section(Page(render_run(sample_run(figures=(nothing,)))), "Figures")
    assert "12 unknown" in figures
    assert "None" not in figures
    assert "nan" not in figures
