"""Two sides asked the same cases in turn: in which order, until when, and what comes of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compared_project import write_compared_project
from deploy_samples import deploy_config
from modelyard.answering.answer import Answerer
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.monitoring.samples import read_samples
from modelyard.performance.cases import load_suite
from modelyard.performance.compare import Compared, NoAnswers, OnPair, compare, find_side
from provider_server import ProviderServer, chat, whole


class Compare:
    """Compares `first` with `second`."""

    def __init__(self, project: Project, first: ProviderServer, second: ProviderServer) -> None:
        self.project, self.first, self.second = project, first, second

    def __call__(self, a: str = "first", b: str = "second", **more: Any) -> Compared:
        suite = load_suite(self.project, "short", "development")
        sides = [find_side(self.project, word, "development") for word in (a, b)]
        with Answerer(self.project, pause=lambda _: False) as answerer:
            return compare(self.project, answerer, suite, *sides, environment="development", **more)


@pytest.fixture
def comparing(tmp_path: Path) -> Iterator[Compare]:
    with ProviderServer() as first, ProviderServer() as second:
        first.answer(*itertools.repeat(chat("Yes."), 60))
        second.answer(*itertools.repeat(chat("No."), 60))
        project = write_compared_project(tmp_path / "project", first, second, cases=30)
        yield Compare(project, first, second)


def test_every_case_is_asked_of_both_and_each_is_first_in_every_second_pair(
    comparing: Compare,
) -> None:
    order: list[str] = []
    for name, server in (("a", comparing.first), ("b", comparing.second)):
        answers = [chat("Yes.") for _ in range(40)]
        server.answer(*(_noting(order, name, steps) for steps in answers))
    found = comparing(max_cases=6)
    assert "".join(order) == "abbaabbaabba"
    asked = [
        [each.body["messages"][-1]["content"] for each in server.asked]
        for server in (comparing.first, comparing.second)
    ]
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == 6
    assert (found.most_pairs, found.paired.pairs, found.paired.both) == (6, 6, 6)


def _noting(order: list[str], name: str, steps: Any) -> Iterator[Any]:
    order.append(name)
    yield from steps


def test_it_ends_as_soon_as_one_is_shown_to_be_better(comparing: Compare) -> None:
    told: list[int] = []
    found = comparing(until_significant=True, on_pair=lambda done, _: told.append(done))
    assert found.paired.better == "a"
    assert found.paired.pairs == len(told) < 15
    assert found.most_pairs == 30
    assert found.a.right == found.paired.only_a == len(told)
    assert (found.a.models, found.b.models) == (("first",), ("second",))


def test_without_that_all_cases_are_asked(comparing: Compare) -> None:
    found = comparing(max_cases=12)
    assert (found.paired.pairs, found.paired.better, found.complete) == (12, "a", True)


def test_equal_sides_use_up_the_cases(comparing: Compare) -> None:
    found = comparing("first", "first", until_significant=True)
    assert (found.paired.pairs, found.paired.better, found.paired.p_value) == (30, None, 1.0)


def test_a_side_that_answers_nothing_ends_it(comparing: Compare) -> None:
    comparing.second.answer(*itertools.repeat(whole("401 Unauthorized", {}), 20))
    with pytest.raises(NoAnswers, match=r"B \(model:second\) answered none of the first 5"):
        comparing()
    assert len(comparing.first.asked) == 5


def test_a_side_that_answers_nothing_of_a_small_suite_is_compared_with_nothing(
    comparing: Compare,
) -> None:
    comparing.second.answer(*itertools.repeat(whole("401 Unauthorized", {}), 20))
    with pytest.raises(NoAnswers, match=r"B \(model:second\) answered none of the first 3"):
        comparing(max_cases=3)


def test_an_interrupted_comparison_says_what_was_measured(comparing: Compare) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    on_pair: OnPair = interrupt
    found = comparing(on_pair=on_pair)
    assert (found.complete, found.paired.pairs) == (False, 4)


def test_two_environments_are_compared_as_each_answers(comparing: Compare) -> None:
    deploy_config(comparing.project, every_config=True, environment="test")
    integration = comparing.project.configs / "integration.yaml"
    integration.write_text(integration.read_text().replace("first", "second"))
    found = comparing("env:test", "env:development", max_cases=8)
    assert (found.a.models, found.b.models) == (("first",), ("second",))
    assert (found.a.environment, found.a.config_revision, found.b.config_revision) == (
        "test",
        1,
        None,
    )
    assert found.paired.better == "a"


def test_sides_that_are_asked_different_cases_are_refused(comparing: Compare) -> None:
    suite = load_suite(comparing.project, "short", "development")
    for name in ("one", "two"):
        path = comparing.project.configs / "specialized_models" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("description: D\nmodel: first\ninstructions: Answer.\nprofile: plain\n")
    profiles = comparing.project.configs / "performance_profiles"
    profiles.mkdir()
    (profiles / "plain.yaml").write_text("description: Plain\n")
    a = find_side(comparing.project, "first", "development", domains=("one", "two"))
    b = find_side(comparing.project, "second", "development")
    with Answerer(comparing.project) as answerer, pytest.raises(InvalidInput, match="not all the"):
        compare(comparing.project, answerer, suite, a, b, environment="development")


def test_its_answers_are_tests_and_of_no_user(comparing: Compare) -> None:
    comparing(max_cases=2)
    assert {sample.kind for sample in read_samples(comparing.project)} == {"test", "test_call"}


def test_the_same_seed_asks_in_the_same_order(comparing: Compare) -> None:
    orders = []
    for seed in (1, 1, 2):
        before = len(comparing.first.asked)
        comparing(seed=seed, max_cases=8)
        asked = comparing.first.asked[before:]
        orders.append([each.body["messages"][-1]["content"] for each in asked])
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("word", ["nothing", "profile:nothing", "env:nowhere", "no/such.yaml"])
def test_a_side_that_is_nothing_is_refused(comparing: Compare, word: str) -> None:
    with pytest.raises(InvalidInput):
        find_side(comparing.project, word, "development")


def test_sides_are_found_by_what_they_are_called(comparing: Compare) -> None:
    names = {
        word: find_side(comparing.project, word, "development").name
        for word in ("first", "model:second", "env:development")
    }
    assert names == {
        "first": "model:first",
        "model:second": "model:second",
        "env:development": "primary",
    }
