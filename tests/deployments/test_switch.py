"""Which profile a domain uses: switching it, and taking that back."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy_samples import (
    deploy_config,
    edit,
    live_number,
    require_agreement,
    rollback,
    switch_config,
    undo_switch,
    write_deploy_project,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.deploy import Deployment
from modelyard.deployments.effective import load_effective
from modelyard.deployments.revisions import NotDeployed, load_revision


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, environment="test", every_config=True)
    return project


def switch(place: Project, profile: str, domain: str | None = None) -> Deployment:
    return switch_config(place, profile=profile, domain=domain, environment="test")


def undo(place: Project) -> Deployment:
    return undo_switch(place, environment="test")


def profiles(place: Project) -> dict[str, str]:
    return dict(load_revision(place, "test").profiles)


def in_use(place: Project, domain: str = "code_analysis") -> str | None:
    return load_effective("test", domain, project=place).profile


def test_a_switch_changes_one_domain_and_says_every_setting_that_really_changes(
    place: Project,
) -> None:
    done = switch(place, "high_accuracy", "code_analysis")
    (effect,) = done.plan.effects
    assert effect.domain == "code_analysis"
    assert [(setting.key, setting.before, setting.after) for setting in effect.settings] == [
        ("profile", "balanced", "high_accuracy"),
        ("model.generation.temperature", 0.2, 0.4),
        ("model.retries.attempts", 2, 4),
        ("retrieval.top", 5, 12),
        ("retrieval.rerank", False, True),
        ("timeout", "30 s", "2 min"),
        ("samples", 1, 3),
    ]
    assert in_use(place) == "high_accuracy"
    assert in_use(place, "summarization") == "balanced"
    assert yaml.safe_load((place.deployed("test") / "profiles.yaml").read_text()) == {
        "code_analysis": "high_accuracy"
    }
    require_agreement(place)


def test_without_a_domain_every_domain_is_switched(place: Project) -> None:
    switch(place, "high_accuracy")
    every = dict.fromkeys(["code_analysis", "summaries", "summarization"], "high_accuracy")
    assert profiles(place) == every


def test_a_task_of_the_integration_is_a_domain_of_its_own(place: Project) -> None:
    switch(place, "high_accuracy", "summaries")
    assert in_use(place, "summaries") == "high_accuracy"
    assert in_use(place, "summarization") == "balanced"
    assert load_effective("test", "summaries", project=place).specialized_model == ("summarization")


def test_the_same_switch_again_does_nothing(place: Project) -> None:
    switch(place, "high_accuracy", "code_analysis")
    assert switch(place, "high_accuracy", "code_analysis").revision is None
    assert switch(place, "balanced", "summarization").revision is None
    assert live_number(place) == 2


def test_where_nothing_is_live_what_is_needed_goes_along(place: Project) -> None:
    done = switch_config(
        place, profile="high_accuracy", domain="code_analysis", environment="production"
    )
    named = {change.config: change.named_by for change in done.plan.configs}
    assert named["specialized_models/code_analysis"] is None
    assert named["performance_profiles/high_accuracy"] is None
    assert named["language_models/gpt4"] == "specialized_models/code_analysis"
    assert live_number(place, "production") == 1
    (effect,) = done.plan.effects
    assert ("samples", 1, 3) in [
        (setting.key, setting.before, setting.after) for setting in effect.settings
    ]


def test_a_profile_that_is_not_live_goes_along_alone(place: Project) -> None:
    deploy_config(place, ["code_analysis"], environment="production")
    done = switch_config(place, profile="high_accuracy", environment="production")
    assert [config.config for config in done.plan.configs] == ["performance_profiles/high_accuracy"]


def test_where_nothing_is_live_every_domain_of_the_project_can_be_switched_at_once(
    place: Project,
) -> None:
    switch_config(place, profile="high_accuracy", environment="production")
    chosen = load_revision(place, "production").profiles
    assert sorted(chosen) == ["code_analysis", "summaries", "summarization"]


@pytest.mark.parametrize(
    ("profile", "domain", "message"),
    [
        ("high_acuracy", None, r"no performance profile 'high_acuracy' \(did you mean 'high_acc"),
        ("balanced", "code_analisis", r"no domain 'code_analisis' \(did you mean 'code_analysis"),
        ("../balanced", None, "not a valid profile name"),
        ("balanced", "a/b", "not a valid domain name"),
    ],
)
def test_what_does_not_exist_is_refused(
    place: Project, profile: str, domain: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        switch(place, profile, domain)
    assert live_number(place) == 1


def test_undo_gives_back_the_profile_before_and_keeps_what_was_deployed_since(
    place: Project,
) -> None:
    switch(place, "high_accuracy", "code_analysis")
    edit(place, "language_models/gpt4_config", "60 seconds", "50 seconds")
    deploy_config(place, ["gpt4"], environment="test")
    done = undo(place)
    assert done.revision is not None
    assert (done.revision.number, done.revision.from_revision) == (4, 1)
    assert profiles(place) == {}
    assert in_use(place) == "balanced"
    model = load_effective("test", None, project=place).model.settings
    assert model.timeout_s == 50.0
    require_agreement(place)


def test_undo_of_an_undo_goes_one_further_back(place: Project) -> None:
    switch(place, "high_accuracy", "code_analysis")
    switch(place, "high_accuracy", "summarization")
    switch(place, "balanced", "code_analysis")
    undo(place)
    assert profiles(place) == {"code_analysis": "high_accuracy", "summarization": "high_accuracy"}
    undo(place)
    assert profiles(place) == {"code_analysis": "high_accuracy"}
    undo(place)
    assert profiles(place) == {}
    with pytest.raises(ModelyardError, match="there is no switch left to undo in test"):
        undo(place)


def test_a_rollback_brings_back_what_can_be_undone(place: Project) -> None:
    switch(place, "high_accuracy", "code_analysis")
    undo(place)
    rollback(place, environment="test", to=2)
    assert in_use(place) == "high_accuracy"
    undo(place)
    assert in_use(place) == "balanced"


def test_the_first_revision_can_be_a_switch_that_is_undone(place: Project) -> None:
    switch_config(place, profile="high_accuracy", environment="production")
    done = undo_switch(place, environment="production")
    assert done.revision is not None
    assert done.revision.from_revision is None
    assert load_revision(place, "production").profiles == {}
    with pytest.raises(ModelyardError, match="no switch left"):
        undo_switch(place, environment="production")


def test_a_switch_in_development_changes_what_the_drafts_come_to(tmp_path: Path) -> None:
    """Development runs the drafts; a switch there records the profiles and nothing else."""
    project = write_deploy_project(tmp_path / "project")
    assert load_effective("development", "code_analysis", project=project).samples == 1
    done = switch_config(project, profile="high_accuracy", environment="development")
    assert done.revision is not None and done.revision.configs == {}
    assert done.plan.configs == () and done.plan.effects
    assert load_effective("development", "code_analysis", project=project).samples == 3
    draft = project.configs / "performance_profiles" / "high_accuracy.yaml"
    draft.write_text(draft.read_text().replace("samples: 3", "samples: 5"))
    assert load_effective("development", "code_analysis", project=project).samples == 5
    undo_switch(project, environment="development")
    assert load_effective("development", "code_analysis", project=project).samples == 1
    with pytest.raises(NotDeployed):
        load_effective("test", "code_analysis", project=project)


def test_an_unfinished_draft_does_not_stop_a_switch_of_another_domain(tmp_path: Path) -> None:
    project = write_deploy_project(tmp_path / "project")
    draft = project.configs / "specialized_models" / "summarization.yaml"
    draft.write_text(draft.read_text().replace("model: claude", "model: no_such_model"))
    done = switch_config(
        project, profile="high_accuracy", domain="code_analysis", environment="development"
    )
    assert done.revision is not None
    assert load_effective("development", "code_analysis", project=project).samples == 3
