"""The end of an A/B test: the variant that stays is the config, live and in the drafts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

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
from modelyard.configs.kinds.integration import AbTest
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import ModelyardError, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.deploy import Deployment, carry_out
from modelyard.deployments.effective import load_effective, load_integration
from modelyard.deployments.effective_settings import Effective
from modelyard.deployments.end_ab_test import Side, edit_drafts, end_switches, write_edits
from modelyard.deployments.plan import Request
from modelyard.deployments.propose import propose
from modelyard.deployments.variants import NoTest, require_test
from modelyard.settings.yaml_edit import NotEditable

DRAFTS = ("specialized_models/code_analysis", "integration")
TEST = """\
  ab_test:                        # until the summer
    name: trial
    domains: [code_analysis]
    a: {}
    b: {model: claude, profile: high_accuracy}
"""


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project in whose drafts, and in test, an A/B test runs."""
    project = write_deploy_project(tmp_path / "project")
    edit(project, "integration", "  budgets:\n", f"{TEST}  budgets:\n")
    deploy_config(project, every_config=True, environment="test")
    return project


def running(project: Project, environment: str) -> AbTest:
    return require_test(load_integration(environment, project=project), environment)


def end(project: Project, keep: Side, environment: str = "test") -> Deployment | None:
    """As `models ab stop` does."""
    test = running(project, environment)
    edits = edit_drafts(project, environment, test, keep)
    if environment == "development":
        end_switches(project, test, keep, reason=None, wait_s=0)
        write_edits(edits)
        return None
    plan = propose(project, Request(action="deploy", keep_variant=keep), environment)
    write_edits(edits)
    return carry_out(project, plan.preconditions)


def tried(project: Project, side: Side, environment: str = "test") -> Effective:
    """What a variant answers by, as it would be called without the test."""
    found = load_effective(environment, "code_analysis", project=project).ab_test
    assert found is not None
    return replace(found.a if side == "a" else found.b, variant=None)


def text(project: Project, config: str) -> str:
    return (project.configs / f"{config}.yaml").read_text()


@pytest.mark.parametrize("keep", ["a", "b"])
@pytest.mark.parametrize("environment", ["test", "development"])
def test_what_is_kept_is_what_was_tried(place: Project, keep: Side, environment: str) -> None:
    expected = tried(place, keep, environment)
    end(place, keep, environment)
    found = load_effective(environment, "code_analysis", project=place)
    assert replace(found, revision=expected.revision) == expected
    with pytest.raises(NoTest, match=f"no A/B test runs in {environment}"):
        running(place, environment)


def test_it_is_one_deployment_that_can_be_rolled_back(place: Project) -> None:
    done = end(place, "b")
    assert done is not None
    assert live_number(place) == 2
    require_agreement(place)
    assert {change.config for change in done.plan.configs} == {
        "integration",
        "specialized_models/code_analysis",
    }
    rollback(place, environment="test")
    assert running(place, "test").name == "trial"


def test_the_drafts_change_by_these_lines_only(place: Project) -> None:
    before = {name: text(place, name) for name in DRAFTS}
    end(place, "b")
    assert text(place, "integration") == before["integration"].replace(TEST, "")
    assert text(place, "specialized_models/code_analysis") == before[
        "specialized_models/code_analysis"
    ].replace("model: gpt4\n", "model: claude\nprofile: high_accuracy\n")
    catalogue = ConfigCatalogue(place)
    assert check_configs(catalogue, catalogue.paths(), environments=("test",)).valid
    again = propose(place, Request(action="deploy", every_config=True), "test")
    assert not again.changes


def test_what_was_edited_meanwhile_does_not_go_live(place: Project) -> None:
    edit(place, "specialized_models/code_analysis", "Say so when", "Say that when")
    end(place, "b")
    found = load_effective("test", "code_analysis", project=place)
    assert found.model.name == "claude"
    assert "Say so when" in found.instructions
    assert "Say that when" in text(place, "specialized_models/code_analysis")


def test_a_test_of_one_environment_ends_there_and_stays_out_of_the_others(tmp_path: Path) -> None:
    project = write_deploy_project(tmp_path / "project")
    overlay = "".join(f"    {line}\n" for line in ["model_integration:", *TEST.splitlines()])
    path = project.configs / "integration.yaml"
    path.write_text(f"{path.read_text()}environments:\n  test:\n{overlay}")
    before = path.read_text()
    deploy_config(project, every_config=True, environment="test")
    end(project, "b")
    assert path.read_text() == before.replace(f"environments:\n  test:\n{overlay}", "")
    draft = text(project, "specialized_models/code_analysis")
    assert "environments:\n  test:\n    model: claude\n    profile: high_accuracy\n" in draft
    assert "\nmodel: gpt4\n" in draft


def test_an_overlay_that_would_hide_it_is_changed_too(tmp_path: Path) -> None:
    project = write_deploy_project(tmp_path / "project")
    edit(project, "integration", "  budgets:\n", f"{TEST}  budgets:\n")
    path = project.configs / "specialized_models" / "code_analysis.yaml"
    path.write_text(f"{path.read_text()}environments:\n  test:\n    model: gpt4\n")
    deploy_config(project, every_config=True, environment="test")
    end(project, "b")
    assert "  test:\n    model: claude\n" in path.read_text()
    assert "\nmodel: claude\n" in path.read_text()


def test_without_domains_the_primary_model_changes(tmp_path: Path) -> None:
    project = write_deploy_project(tmp_path / "project")
    test = "  ab_test:\n    name: trial\n    a: {}\n    b:\n      model: claude\n"
    edit(project, "integration", "  budgets:\n", f"{test}  budgets:\n")
    deploy_config(project, every_config=True, environment="test")
    end(project, "b")
    assert "language: claude\n" in text(project, "integration")
    assert load_effective("test", None, project=project).model.name == "claude"


@pytest.mark.parametrize("environment", ["test", "development"])
def test_a_switch_does_not_hide_the_profile_that_is_kept(place: Project, environment: str) -> None:
    switch_config(place, profile="balanced", domain="code_analysis", environment=environment)
    end(place, "b", environment)
    found = load_effective(environment, "code_analysis", project=place)
    assert found.profile == "high_accuracy"


def test_drafts_that_have_another_test_by_now_stay_as_they_are(place: Project) -> None:
    edit(place, "integration", "name: trial", "name: another")
    before = text(place, "integration")
    end(place, "b")
    assert text(place, "integration") == before
    assert load_effective("test", "code_analysis", project=place).model.name == "claude"


def test_a_draft_that_cannot_be_changed_alone_stops_it_before_anything(place: Project) -> None:
    path = place.configs / "specialized_models" / "summarization.yaml"
    edit(place, "integration", "domains: [code_analysis]", "domains: [summarization]")
    path.write_text("{description: Short, model: gpt4, instructions: Be short.}\n")
    deploy_config(place, every_config=True, environment="test")
    before = live_number(place), path.read_text(), text(place, "integration")
    with pytest.raises(NotEditable, match="'profile' cannot be changed there"):
        end(place, "b")
    assert before == (live_number(place), path.read_text(), text(place, "integration"))


def test_a_draft_that_cannot_be_read_stops_it_before_anything(place: Project) -> None:
    path = place.configs / "specialized_models" / "code_analysis.yaml"
    path.write_text("model: [gpt4\n")
    with pytest.raises(ProblemsFound, match="code_analysis"):
        end(place, "b")
    assert (live_number(place), "ab_test" in text(place, "integration")) == (1, True)


def test_a_draft_that_is_changed_meanwhile_is_not_overwritten(place: Project) -> None:
    edits = edit_drafts(place, "test", running(place, "test"), "b")
    edit(place, "specialized_models/code_analysis", "top: 5", "top: 9")
    with pytest.raises(ModelyardError, match="was changed meanwhile"):
        write_edits(edits)
    assert "top: 9" in text(place, "specialized_models/code_analysis")


@pytest.mark.parametrize("how", ["kill", pytest.param("fail", marks=pytest.mark.soak)])
def test_cut_off_at_any_call_the_same_command_completes_it(
    place: Project, tmp_path: Path, how: Literal["kill", "fail"]
) -> None:
    start = tmp_path / "start"
    shutil.copytree(place.root, start, symlinks=True)
    before = [text(place, name) for name in DRAFTS]
    end(place, "b")
    after = [text(place, name) for name in DRAFTS]
    put_back(place, start)
    between = 0
    for number in interruptions(lambda: end(place, "b"), how):
        require_agreement(place)
        drafts = [text(place, name) for name in DRAFTS]
        assert all(found in pair for found, *pair in zip(drafts, before, after, strict=True))
        if live_number(place) == 1:
            between += drafts != before
            end(place, "b")
        assert live_number(place) == 2, number
        assert [text(place, name) for name in DRAFTS] == after, number
        put_back(place, start)
    assert between
    assert number > 20


def put_back(place: Project, start: Path) -> None:
    shutil.rmtree(place.root)
    shutil.copytree(start, place.root, symlinks=True)
