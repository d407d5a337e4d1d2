"""Environments that a project declares: inherited overlays, deployments of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy_samples import (
    deploy_config,
    edit,
    live_number,
    require_agreement,
    rollback,
    switch_config,
    write_deploy_project,
)
from killed import interruptions
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.diff import diff_configs
from modelyard.deployments.effective import load_effective
from modelyard.deployments.revisions import (
    NotDeployed,
    check_environment,
    known_environments,
    live_environments,
    load_snapshot,
)
from modelyard.deployments.running import running_config, running_settings

DECLARED = """\
environments:
  development: {}
  test: {}
  production: {}
  eu-production:
    inherits: production
  staging:
    inherits: eu-production
    protected: true
"""


def declare(place: Project, text: str) -> None:
    (place.configs / "environments.yaml").write_text(text)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project with these environments; gpt4 has an overlay in two of them."""
    project = write_deploy_project(tmp_path / "project")
    declare(project, DECLARED)
    path = project.configs / "language_models" / "gpt4_config.yaml"
    path.write_text(path.read_text() + "  staging:\n    generation:\n      temperature: 0.1\n")
    return project


def deployed(place: Project, environment: str) -> dict[str, Any]:
    return load_snapshot(place, environment).configs["language_models/gpt4"].values


def test_an_environment_inherits_overlays_and_no_deployment(place: Project) -> None:
    deploy_config(place, ["gpt4"], environment="staging")
    assert deployed(place, "staging")["timeout"] == "30 seconds"  # of production, twice inherited
    assert deployed(place, "staging")["generation"] == {"temperature": 0.1}
    with pytest.raises(NotDeployed):
        load_snapshot(place, "eu-production")
    deploy_config(place, ["gpt4"], environment="eu-production")
    assert deployed(place, "eu-production")["generation"] == {"temperature": 0.7}
    assert deployed(place, "eu-production")["timeout"] == "30 seconds"
    deploy_config(place, ["gpt4"], environment="test")
    assert deployed(place, "test")["timeout"] == "60 seconds"


def test_development_inherits_too(place: Project) -> None:
    declare(place, DECLARED.replace("development: {}", "development: {inherits: staging}"))
    assert running_settings(place, "development", "language_models")["gpt4"].timeout_s == 30
    effective = load_effective("development", "code_analysis", project=place)
    assert effective.model.settings.generation.temperature == 0.2  # of the domain
    declare(place, DECLARED)  # a process that runs sees the edit
    edit(place, "specialized_models/code_analysis", "  temperature: 0.2\n", "")
    effective = load_effective("development", "code_analysis", project=place)
    assert effective.model.settings.generation.temperature == 0.7


def test_an_edit_of_what_is_inherited_changes_nothing_that_is_live(place: Project) -> None:
    deploy_config(place, every_config=True, environment="staging")
    declare(place, DECLARED.replace("inherits: eu-production", "inherits: test"))
    assert deployed(place, "staging")["timeout"] == "30 seconds"
    done = deploy_config(place, every_config=True, environment="staging")
    assert [config.config for config in done.plan.configs] == ["language_models/gpt4"]
    assert deployed(place, "staging")["timeout"] == "60 seconds"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("prod", "production"), ("stagin", "staging"), ("eu_production", "eu-production")],
)
def test_an_environment_that_is_not_declared_has_a_near_name(
    place: Project, word: str, meant: str
) -> None:
    with pytest.raises(
        InvalidInput, match=rf"no environment '{word}' \(did you mean '{meant}'\?\)"
    ):
        check_environment(place, word)


@pytest.mark.parametrize("word", ["", "../etc", "no/where", "*", "a" * 500, "qa\n", "quality"])
def test_nothing_that_is_not_declared_can_be_used(place: Project, word: str) -> None:
    for use in (
        lambda: check_environment(place, word),
        lambda: deploy_config(place, ["gpt4"], environment=word),
        lambda: switch_config(place, profile="balanced", environment=word),
        lambda: rollback(place, environment=word),
        lambda: load_snapshot(place, word),
        lambda: load_effective(word, None, project=place),
        lambda: running_settings(place, word, "language_models"),
        lambda: running_config(place.root / "elsewhere.yaml", word, kind="fine_tuning"),
        lambda: diff_configs(ConfigCatalogue(place), "gpt4", "claude", environment=word),
    ):
        (place.root / "elsewhere.yaml").write_text("training: {epochs: 1}\n")
        with pytest.raises(InvalidInput, match="there is no environment"):
            use()
    assert not place.local_state.exists() or live_environments(place) == []


def test_the_file_itself_is_never_deployed(place: Project) -> None:
    deploy_config(place, every_config=True, environment="test")
    assert "environments" not in load_snapshot(place, "test").configs
    for word in ("environments", "environments.yaml", str(place.configs / "environments.yaml")):
        with pytest.raises(InvalidInput, match="is not deployed: every command reads it"):
            deploy_config(place, [word], environment="test")


def assert_refused(place: Project) -> None:
    """Nothing is deployed anywhere while staging is live and not declared."""
    with pytest.raises(ProblemsFound) as raised:
        deploy_config(place, ["claude"], environment="production")
    (problem,) = raised.value.problems
    assert "does not declare staging" in problem.message
    assert live_number(place, "production") == 0


def test_an_environment_in_which_something_is_live_cannot_be_undeclared(place: Project) -> None:
    deploy_config(place, ["gpt4"], environment="staging")
    (without, staging, below) = DECLARED.partition("  staging:")
    declare(place, without)
    assert staging and below
    live = live_environments(place)
    catalogue = ConfigCatalogue(place)
    report = check_configs(catalogue, catalogue.paths("environments"), live=live)
    (found,) = report.findings
    assert (found.where, found.code) == ("configs/environments.yaml:1:1", "live-environment")
    assert "does not declare staging, where configs are live" in found.message
    assert_refused(place)
    (place.configs / "environments.yaml").unlink()
    assert_refused(place)
    # What is live goes on, and is listed.
    assert deployed(place, "staging")["timeout"] == "30 seconds"
    assert known_environments(place) == ("development", "test", "production", "staging")
    declare(place, DECLARED)
    assert check_configs(ConfigCatalogue(place), [], live=live).valid


@pytest.mark.parametrize(
    "broken",
    ["environments: [", "", "environments: {development: {inherits: development}}", "x: 1"],
)
def test_a_broken_declaration_stops_what_depends_on_it_and_nothing_that_is_live(
    place: Project, broken: str
) -> None:
    deploy_config(place, every_config=True, environment="staging")
    deploy_config(place, ["gpt4"], environment="production")
    edit(place, "language_models/claude_config", "Long texts", "Longer texts")
    deploy_config(place, ["claude"], environment="staging")
    declare(place, broken)
    for use in (
        lambda: deploy_config(place, ["gpt4"], environment="production"),
        lambda: running_settings(place, "development", "language_models"),
        lambda: load_effective("development", "code_analysis", project=place),
        lambda: check_environment(place, "eu-production"),
    ):
        with pytest.raises(ProblemsFound) as raised:
            use()
        assert any(
            "configs/environments.yaml:" in str(problem.where) for problem in raised.value.problems
        )
    assert load_effective("staging", "code_analysis", project=place).model.name == "gpt4"
    assert rollback(place, environment="staging").revision is not None
    switched = switch_config(
        place, profile="high_accuracy", domain="code_analysis", environment="staging"
    )
    assert switched.revision is not None
    assert ConfigCatalogue(place).environments.is_protected("test")  # it is not known not to be


def test_a_file_outside_the_project_has_overlays_for_its_environments(
    place: Project, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 1}\nenvironments: {staging: {training: {epochs: 2}}}\n")
    resolved = running_config(path, "staging", kind="fine_tuning", project=place)
    assert resolved.values["training"]["epochs"] == 2
    with pytest.raises(ProblemsFound) as raised:
        running_config(path, "test", kind="fine_tuning")
    assert "unknown environment 'staging'" in raised.value.problems[0].message


NEIGHBOURS = ("eu.1", "eu-1", "eux1", "eu")


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_deployment_that_is_cut_off_leaves_its_environment_and_the_neighbours_whole(
    place: Project, tmp_path: Path, how: Any
) -> None:
    names = "".join(f"  {name}: {{inherits: production}}\n" for name in NEIGHBOURS)
    declare(place, DECLARED + names)
    for name in NEIGHBOURS:
        deploy_config(place, ["gpt4"], environment=name)
    edit(place, "language_models/gpt4_config", "30 seconds", "31 seconds")
    start = tmp_path / "start"
    shutil.copytree(place.local_state, start, symlinks=True)

    def work() -> object:
        return deploy_config(place, ["gpt4"], environment="eu.1")

    for number in interruptions(work, how):
        for name in NEIGHBOURS:
            require_agreement(place, name)
        assert live_number(place, "eu.1") in (1, 2), number
        work()
        assert live_number(place, "eu.1") == 2, number
        assert deployed(place, "eu.1")["timeout"] == "31 seconds"
        for name in NEIGHBOURS[1:]:
            assert live_number(place, name) == 1
            require_agreement(place, name)
        kept = place.deployed_revision("eu", 1).parent.iterdir()
        assert sorted(path.name for path in kept) == ["eu-1", "eu-1-1", "eu.1-2", "eux1-1"], number
        shutil.rmtree(place.local_state)
        shutil.copytree(start, place.local_state, symlinks=True)
    assert number > 20
