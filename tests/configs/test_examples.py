"""Dropping a file into tests/examples/configs/good or bad makes a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from example_configs import (
    EXAMPLES,
    REPOSITORY,
    check_case,
    example_cases,
    expected_findings,
    make_project,
    shown_findings,
)
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.codes import CODES
from modelyard.configs.kinds import KINDS, STANDARD_ENVIRONMENTS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project

NOT_IN_EXAMPLES = {
    "json-schema",  # would be a disagreement of our own two judges: test_mutations.py
    "unreadable",
    "live-environment",  # needs a deployment: test_declared_environments.py
    "not-read",  # of a whole project, and no file's own: test_validate_config_command.py
    "broken-reference",  # needs a broken config that is not checked: test_checking.py
    "yaml-unreadable",
    "yaml-too-large",
    "yaml-too-many-problems",
    "yaml-not-utf8",  # an editor would repair the file; test_checking.py writes these
}


@pytest.fixture(scope="module")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("examples") / "project")


def _name(case: Path) -> str:
    return str(case.relative_to(EXAMPLES))


@pytest.mark.parametrize("case", example_cases("good"), ids=_name)
def test_a_good_example_has_no_finding(case: Path, small_project: Project) -> None:
    assert shown_findings(check_case(small_project, case)) == []


@pytest.mark.parametrize("case", example_cases("bad"), ids=_name)
def test_a_bad_example_has_exactly_the_findings_it_announces(
    case: Path, small_project: Project
) -> None:
    expected = expected_findings(case)
    assert expected, f"{_name(case)} announces nothing: write `# expect: LINE:COL message`"
    assert shown_findings(check_case(small_project, case)) == expected


def test_there_are_enough_examples_and_each_is_of_another_mistake() -> None:
    good, bad = example_cases("good"), example_cases("bad")
    assert len(good) >= 12
    assert len(bad) >= 65
    announced = ["|".join(expected_findings(case)).partition(": ")[2] for case in bad]
    assert len(set(announced)) == len(announced)
    assert {case.parent.name for case in good} >= set(KINDS)


def test_every_rule_has_an_example(small_project: Project) -> None:
    reports = [check_case(small_project, case) for case in example_cases("bad")]
    shown = {finding.code for report in reports for finding in report.findings}
    assert shown == set(CODES) - NOT_IN_EXAMPLES


def test_every_config_of_this_repository_is_valid_in_every_environment() -> None:
    catalogue = ConfigCatalogue(Project(REPOSITORY))
    paths = catalogue.paths()
    assert len(paths) >= 20
    report = check_configs(catalogue, paths, environments=STANDARD_ENVIRONMENTS, strict=True)
    assert [str(finding) for finding in report.findings if finding.level == "error"] == []
