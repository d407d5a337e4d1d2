"""`models compare` and `performance-test --baseline` as a person and a program see them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compared_project import write_compared_project
from provider_server import ProviderServer, chat

Models = Callable[..., int]


@pytest.fixture
def servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ProviderServer, ProviderServer]]:
    with ProviderServer() as first, ProviderServer() as second:
        first.answer(*itertools.repeat(chat("Yes."), 60))
        second.answer(*itertools.repeat(chat("No."), 60))
        project = write_compared_project(tmp_path / "project", first, second, cases=12)
        monkeypatch.chdir(project.root)
        yield first, second


def test_it_says_who_is_right_more_often(
    servers: object, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", "first", "second", "--test-suite", "short")
    assert models_here(*words) == 0
    printed = capsys.readouterr()
    assert "first is right more often: only first has 12 cases right" in printed.out
    assert "12 cases that only first has right" in printed.out
    assert "A: model:first in development, answered by first" in printed.err
    assert printed.err.startswith("short: model:first and model:second\n")
    assert models_here(*words, "--until-significant", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["better"], found["complete"], found["until_significant"]) == ("a", True, True)
    assert found["pairs"] < 12
    assert found["a"]["name"] == "model:first"


def test_equal_sides_cannot_be_told_apart(
    servers: object, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", "first", "first", "--test-suite", "short", "--max-cases", "3")
    assert models_here(*words) == 0
    printed = capsys.readouterr().out
    assert "It cannot be told which is right more often" in printed
    assert "first (A)" in printed
    assert "first (B)" in printed
    assert models_here(*words, "--strict") == 5
    assert models_here("compare", "first", "third", "--test-suite", "short") == 2
    assert "no model is called 'third'" in capsys.readouterr().err
    assert models_here("compare", "first", "second", "--test-suite", "long") == 2


def test_a_run_that_is_worse_than_its_baseline_is_a_breach(
    servers: tuple[ProviderServer, ProviderServer],
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("performance-test", "--test-suite", "short", "--baseline", "latest")
    assert models_here(*words) == 0
    assert "there is no earlier run to compare with" in capsys.readouterr().err
    servers[0].answer(*itertools.repeat(chat("No."), 60))
    assert models_here(*words) == 4
    printed = capsys.readouterr()
    assert "Beside run 1" in printed.err + printed.out
    assert "primary is right less often than run 1: 12 cases only there, 0 only now" in printed.err
    assert models_here(*words[:-1], "1", "--json") == 4
    found = json.loads(capsys.readouterr().out)["baseline"]
    assert (found["worse"], found["only_a"], found["name"]) == (True, 12, "run 1")
    assert models_here(*words[:-1], "99") == 2


def test_a_run_that_says_nothing_is_no_baseline_and_stops_no_later_one(
    servers: tuple[ProviderServer, ProviderServer],
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("performance-test", "--test-suite", "short", "--baseline", "latest")
    configs = Path("configs/integration.yaml")
    settings = configs.read_text()
    assert models_here(*words) == 0
    configs.write_text(
        settings.replace("model_integration:", "model_integration:\n  budgets: {per_day: $0}", 1)
    )
    assert models_here(*words) == 5
    configs.write_text(settings)
    capsys.readouterr()
    assert models_here(*words) == 0
    assert "Beside run 1" in "".join(capsys.readouterr())
    suite = Path("configs/test_suites/short.yaml")
    suite.write_text(suite.read_text().replace("a number?", "a prime?"))
    assert models_here(*words) == 0
    assert "there is no earlier run to compare with" in capsys.readouterr().err
    suite.write_text("description: Times\nload: {requests: 2, warm_up_requests: 0}\n")
    assert models_here(*words) == 2
    assert "has no cases that could be compared" in capsys.readouterr().err


def test_a_baseline_that_asked_something_else_is_refused(
    servers: object, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models_here("performance-test", "--test-suite", "short") == 0
    suite = Path("configs/test_suites/short.yaml")
    other = suite.read_text().replace("a number?", "a prime?")
    Path("configs/test_suites/other.yaml").write_text(other)
    capsys.readouterr()
    assert models_here("performance-test", "--test-suite", "other", "--baseline", "1") == 2
    assert "run 1 has no case of the suite other" in capsys.readouterr().err
