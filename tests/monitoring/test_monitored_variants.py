"""Which variant of an A/B test is better, by pairs of answers from about the same time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from killed import SOAK
from modelyard.chatdata.feedback import Feedback, record_feedback
from modelyard.core.layout import Project
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.samples import open_traffic
from modelyard.monitoring.variants import VariantsCompared, _told, compare_variants
from modelyard.records.spool import Recorder
from traffic_samples import numbered


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def answer(place: Project, answers: list[tuple[str, str]]) -> None:
    """One answer after the other, each of a side and with an outcome."""
    recorder = Recorder(place)
    for number, (side, outcome) in enumerate(answers):
        sample = numbered(
            number, variant=f"trial/{side}", outcome=outcome, environment="development"
        )
        recorder.record(sample)
    recorder.close()


def compared(place: Project) -> VariantsCompared:
    with open_traffic(place) as traffic:
        chosen = choose_answers(place, "development", None)
        return compare_variants(place, traffic, chosen, "trial")


def test_requests_of_both_sides_are_counted_and_paired(place: Project) -> None:
    answer(place, [("a", "answered"), ("b", "failed")] * 12 + [("a", "over_limit")])
    found = compared(place)
    assert (found.a.requests, found.a.errors) == (12, 0)
    assert (found.b.requests, found.b.errors) == (12, 12)
    assert (found.errors.pairs, found.errors.only_a, found.errors.better) == (12, 12, "a")
    assert (found.ratings.pairs, found.ratings.better) == (0, None)


def test_of_an_answer_the_last_rating_counts(place: Project) -> None:
    answer(place, [("a", "answered"), ("b", "answered")] * 12)
    for number in range(24):
        for rating in ("bad", "good" if number % 2 else "bad"):
            record_feedback(place, [Feedback(answer_id=f"answer-{number}", rating=rating)])
    found = compared(place)
    assert (found.a.rated, found.a.good, found.b.good) == (12, 0, 12)
    assert (found.ratings.only_b, found.ratings.better) == (12, "b")


def test_another_test_another_environment_and_answers_of_no_side_are_not_in_it(
    place: Project,
) -> None:
    recorder = Recorder(place)
    for number, values in enumerate(
        ({"variant": "other/a"}, {"variant": "trial/a", "environment": "test"}, {})
    ):
        recorder.record(numbered(number, **{"environment": "development", **values}))
    recorder.close()
    assert compared(place).a.requests == 0


def test_nobody_waits_for_the_other_side_for_ever() -> None:
    """What is 100 answers old is of another time, when something may have been wrong for all."""
    told = _told([("a", False)] * 100 + [("a", True), ("b", True)] * 17)
    assert told.pairs == 17
    assert told.only_b == 15  # of the 16 that waited the first made room for the next


@pytest.mark.parametrize("share_of_b", [0.1, 0.5])
def test_equal_sides_that_change_with_time_are_told_apart_in_at_most_one_of_twenty(
    share_of_b: float,
) -> None:
    chance = random.Random(3)
    told = 0
    runs = min(600, 60 * SOAK + 60)
    for _ in range(runs):
        events = []
        for number in range(600):
            good = chance.random() < (0.9 if number < 300 else 0.6)
            events.append(("b" if chance.random() < share_of_b else "a", good))
        told += _told(events).better is not None  # type: ignore[arg-type]
    print(f"{share_of_b:.0%} of b: {told / runs:.1%} of {runs} told apart")
    assert told <= runs * 0.05 + 3
