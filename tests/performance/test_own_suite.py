"""Which suite is asked when none is named: the one that the domain names, else quick."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.cli.app import main
from modelyard.core.errors import InvalidInput
from modelyard.performance.targets import find_target
from suite_projects import CONFIGS, SuiteProject, cases, open_suite_project

ONE = cases(("Who leads sales?", "Ann"))
OTHER = """\
description: Questions on bills
model: house
instructions: You answer questions on bills.
quality: {test_suite: bills}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SuiteProject]:
    with open_suite_project(tmp_path / "project") as opened:
        for name in ("quick", "own", "bills"):
            opened.suite(ONE, name)
        support = CONFIGS["specialized_models/support"]
        opened.write("specialized_models/support", f"{support}quality: {{test_suite: own}}\n")
        opened.write("specialized_models/bills", OTHER)
        monkeypatch.chdir(opened.project.root)
        yield opened


@pytest.fixture
def suite_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The suite that `models performance-test` asks with these words."""

    def run(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["models", "performance-test", *words, "--json"])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code in (0, None)
        return str(json.loads(capsys.readouterr().out)["suite"])

    return run


def test_a_domain_is_tested_with_the_suite_that_it_names(
    house: SuiteProject, suite_of: Callable[..., str]
) -> None:
    assert suite_of() == "quick"
    assert suite_of("--domain", "support") == "own"
    assert suite_of("--config", "specialized_models/support") == "own"
    assert suite_of("--domain", "support", "--test-suite", "bills") == "bills"


def test_domains_that_name_several_need_one_to_be_named(house: SuiteProject) -> None:
    both = find_target(house.project, "development", domains=("support", "bills"))
    with pytest.raises(InvalidInput, match=r"several test suites \(support: own, bills: bills\)"):
        _ = both.own_suite
    house.write("specialized_models/bills", OTHER.replace("test_suite: bills", "accuracy: 80%"))
    one = find_target(house.project, "development", domains=("support", "bills"))
    assert one.own_suite == "own"
