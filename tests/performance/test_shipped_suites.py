"""The suites of a new project: every case can be scored, and asks what it says it asks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import load_dataset
from modelyard.core.layout import Project
from modelyard.evaluation.scoring import answer_meets
from modelyard.performance.cases import load_suite
from modelyard.setup.init import init_project


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return init_project(tmp_path_factory.mktemp("new") / "project").project


def rows(project: Project, name: str) -> tuple[Conversation, ...]:
    return load_dataset(project, name).evaluation


def question(row: Conversation) -> str:
    return re.sub(r"\W+", " ", row.prompt[-1].content).casefold().strip()


@pytest.mark.parametrize(
    ("suite", "asked"),
    [
        ("quick", [16, 12, 10, 8, 5]),
        ("comprehensive", [87, 60, 40, 30, 15]),
    ],
)
def test_every_case_of_a_suite_can_be_scored(
    started: Project, suite: str, asked: list[int]
) -> None:
    loaded = load_suite(started, suite, "development")
    assert list(Counter(case.check.name for case in loaded.cases).values()) == asked
    assert len({case.id for case in loaded.cases}) == sum(asked)


def test_every_answer_of_the_handbook_is_on_the_page_that_is_named(started: Project) -> None:
    for row in rows(started, "techcorp_handbook"):
        (source,) = row.fields["sources"]
        page = (started.root / source).read_text()
        assert answer_meets(page, row.fields["expect"]), row.source
        assert answer_meets(row.answer, row.fields["expect"]), row.source


def test_right_answers_of_general_knowledge_are_right_and_new(started: Project) -> None:
    trained = load_dataset(started, "techcorp")
    known = {question(row) for row in (*trained.train, *trained.evaluation)}
    for row in rows(started, "general_knowledge"):
        assert answer_meets(row.answer, row.fields["expect"]), row.source
        assert question(row) not in known, row.source


def test_no_question_is_asked_twice(started: Project) -> None:
    names = ("general_knowledge", "techcorp_handbook", "unanswerable_questions")
    asked = Counter(question(row) for name in names for row in rows(started, name))
    assert [text for text, times in asked.items() if times > 1] == []


def test_a_card_says_how_many_questions_there_are(started: Project) -> None:
    cards = sorted(started.datasets.glob("*/DATASET.md"))
    assert len(cards) == 6
    for card in cards:
        counted = re.search(r"^  eval: (\d+)$", card.read_text(), re.MULTILINE)
        assert counted is not None
        assert int(counted[1]) == len(rows(started, card.parent.name)), card


def test_the_page_of_the_suites_shows_their_numbers(started: Project) -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance-tests.md").read_text()
    of_suites = [
        Counter(case.check.name for case in load_suite(started, name, "development").cases)
        for name in ("quick", "comprehensive")
    ]
    for check, quick in of_suites[0].items():
        row = re.search(rf"^\| {check} \|.*\| (\d+) \| (\d+) \|$", page, re.MULTILINE)
        assert row is not None, check
        assert (int(row[1]), int(row[2])) == (quick, of_suites[1][check])
