"""What each scorer takes for right."""

from __future__ import annotations

import random
from typing import Any

import pytest

from answer_samples import make_answer, make_chunk
from modelyard.answering.request import Answer
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.test_suites import AccuracyCheck, SuiteCase
from modelyard.core.layout import Project
from modelyard.performance.cases import Case
from modelyard.performance.scorers.quantities import quantities_in, same_quantity
from modelyard.performance.scorers.scored import Scored
from modelyard.performance.scorers.texts import declines_to_answer
from modelyard.performance.scoring import Scorers


def make_case(scorer: str, right: dict[str, Any], **check: Any) -> Case:
    asked = SuiteCase(question="What?", **right)
    return Case(
        id="0" * 12,
        check=AccuracyCheck(name="it", scorer=scorer, **check),  # type: ignore[arg-type]
        messages=(Message("user", asked.question),),
        system=None,
        right=asked,
        source="here",
    )


def score(case: Case, answer: Answer | str, *others: Case) -> Scored:
    given = answer if isinstance(answer, Answer) else make_answer(answer)
    scorers = Scorers(Project(None), None, "development", [case, *others])  # type: ignore[arg-type]
    return scorers.score(case, given)


@pytest.mark.parametrize(
    ("scorer", "right", "good", "bad"),
    [
        ("exact", {"answer": "Ann Lee."}, "ann lee", "It is Ann Lee"),
        ("contains", {"answer": "Ann Lee"}, "It is ann lee, of sales.", "Anna Lee-Roy"),
        ("regex", {"pattern": r"\b[A-Z]{2}\d{3}\b"}, "Your ticket is AB123.", "ticket ab123"),
        ("json_schema", {"schema": {"type": "integer"}}, "```json\n3\n```", '"3"'),
        ("numeric", {"answer": "1,200 km"}, "About 1200 kilometres.", "It is 1,200 miles."),
        ("refusal", {}, "I do not know what you had for lunch.", "You had soup."),
    ],
)
def test_right_and_wrong(scorer: str, right: dict[str, Any], good: str, bad: str) -> None:
    case = make_case(scorer, right)
    assert score(case, good) == Scored(score=1.0, right=True)
    found = score(case, bad)
    assert (found.score, found.right) == (0.0, False)
    assert found.why


def test_facts_score_the_share_that_is_said() -> None:
    case = make_case("facts", {"expect": (("ten", "10"), ("euros",))})
    assert score(case, "It costs 10 euros.").right
    half = score(case, "It costs ten dollars.")
    assert (half.score, half.right, half.why) == (0.5, False, "it does not say euros")


def test_a_pattern_that_never_ends_leaves_the_case_open() -> None:
    found = score(make_case("regex", {}, pattern=r"(\w|\w\w)+$"), "a" * 300 + "!")
    assert (found.score, found.right) == (None, None)
    assert "without an end" in found.why


def test_a_label_is_named_alone() -> None:
    labels = ("card", "card_lost", "refund")
    cards, lost, refund = (make_case("label", {"label": label}) for label in labels)
    assert score(cards, "Card.", lost, refund).right
    assert score(lost, "The intent is: card lost", cards, refund).right
    assert not score(cards, "The intent is: card lost", lost, refund).right
    both = score(refund, "refund or card", cards, lost)
    assert (both.right, both.why) == (False, "it names card")
    assert score(refund, "No idea.", cards).why == "it does not name refund"


@pytest.mark.parametrize(
    ("text", "value", "dimension"),
    [
        ("$2.5 million", 2.5e6, "dollars"),
        ("USD 40", 40, None),
        ("1.234,50 €", 1234.5, "euros"),
        ("1 200 000", 1.2e6, None),
        ("1'200 kg", 1200, "mass"),
        ("36 hours", 36 * 3600, "time"),
        ("a 5-day trip", 5 * 86400, "time"),
        ("85%", 0.85, "share"),
        ("85 percent", 0.85, "share"),
        ("−3.5", -3.5, None),
        ("3 GB", 3e9, "bytes"),
        ("2e6", 2e6, None),
        ("12k", 12_000, None),
        ("18 months", 18, "months"),
        ("1.5", 1.5, None),
    ],
)
def test_numbers_are_read_with_their_units(text: str, value: float, dimension: str | None) -> None:
    (found,) = quantities_in(text)
    assert (found.value, found.dimension) == (pytest.approx(value), dimension)


def test_what_is_part_of_a_word_is_no_number() -> None:
    assert quantities_in("version v2.1 of GPT4, model A-7b") == []


def test_a_number_is_compared_in_its_unit_and_with_its_tolerance() -> None:
    days = make_case("numeric", {"answer": "2 weeks"}, tolerance=0.1)
    for answer in ("14 days", "It takes 13 days.", "336 h", "2"):
        assert score(days, answer).right, answer
    for answer in ("12 days", "2 days", "$2", "soon"):
        assert not score(days, answer).right, answer
    bare = make_case("numeric", {"answer": "1000"})
    assert score(bare, "1,000 people came in 2019.").right
    assert score(bare, "In 2019 there were 1000.").right
    assert not score(bare, "Of 900, or 1000, or 1100.").right
    first, wanted = quantities_in("3 km")[0], quantities_in("3,000 m")[0]
    assert same_quantity(first, wanted, tolerance=0)


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I\u2019m sorry, but I can't help with that.",
        "The sources do not mention a pension plan.",
        "There is no information about this in the handbook.",
        "That is not specified.",
        "Das ist nicht bekannt.",
    ],
)
def test_what_declines(text: str) -> None:
    assert declines_to_answer(text)


def test_what_does_not_decline() -> None:
    for text in (
        "Annual leave is 27 days.",
        "You cannot take leave without notice.",
        "Ask Ann, who knows it.",
        "It does not rain there.",
        "You should not wait: tell your manager.",
    ):
        assert not declines_to_answer(text), text


def test_a_question_that_can_be_answered_is_not_to_be_refused() -> None:
    case = make_case("refusal", {"expect": (("27",),)})
    assert score(case, "27 days.").right
    declined = score(case, "I do not know.")
    assert (declined.right, declined.why) == (False, "it does not answer what can be answered")


def test_the_source_is_named_or_comes_first() -> None:
    chunks = (
        make_chunk(1, "..."),
        make_chunk(2, "...", place="docs/leave.md:4", is_named=True),
        make_chunk(3, "...", is_named=True),
    )
    answer = make_answer("It is so [2][3].", chunks=chunks)
    named = make_case("citations", {"sources": ("docs/leave.*",)})
    assert score(named, answer) == Scored(score=0.5, right=True)
    first = make_case("citations", {"sources": ("docs/leave.md",)}, citation="first")
    found = score(first, answer)
    assert (found.score, found.right) == (0.5, False)
    assert "docs/page1.md:1 was found first" in found.why
    assert score(
        make_case("citations", {"sources": ("docs/page1.md",)}, citation="first"), answer
    ).right
    other = make_case("citations", {"sources": ("docs/x.md",)})
    assert score(other, answer).why == "it names docs/leave.md:4, docs/page3.md:3"
    assert score(other, make_answer("So.", chunks=chunks[:1])).why == "it names no source"
    assert score(other, "So.").why == "nothing was retrieved for it"


def test_what_no_language_model_said_is_never_right() -> None:
    quoted = make_answer("Ann leads it.", degraded=True)
    assert score(make_case("facts", {"expect": (("Ann",),)}), quoted).right is False
    refused = make_answer("Ann", finish="refused")
    assert score(make_case("facts", {"expect": (("Ann",),)}), refused).right is False
    assert score(make_case("refusal", {}), refused).right is True
    assert score(make_case("refusal", {}), quoted).right is False


def test_no_text_makes_a_scorer_fail() -> None:
    rng = random.Random(5)
    alphabet = "aZ09 .,'-$€%\n\u00a0\u2212½²é漢[](){}\"\\`|&<>#/"
    cases = [
        make_case("facts", {"expect": (("a", "0"),)}),
        make_case("numeric", {"answer": "12 km"}),
        make_case("label", {"label": "a"}),
        make_case("refusal", {}),
        make_case("regex", {}, pattern="(a+)+$"),
        make_case("json_schema", {"schema": {"type": "object"}}),
    ]
    for _ in range(300):
        text = "".join(rng.choices(alphabet, k=rng.randrange(80)))
        for case in cases:
            assert score(case, text).score in (0.0, 1.0)
