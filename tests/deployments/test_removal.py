"""`models config remove`: configs are taken out of what is live, unless something needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy_samples import (
    deploy_config,
    edit,
    live_number,
    rollback,
    switch_config,
    write_deploy_project,
)
from modelyard.configs.checking.check import check_named
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.deploy import Deployment, perform, removal_request
from modelyard.deployments.history import list_deployments
from modelyard.deployments.revisions import NotDeployed, live_environments, load_snapshot

SUMMARIES = "    tasks:\n      summaries: summarization\n"


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, environment="test", every_config=True)
    return project


def remove(place: Project, *words: str, everything: bool = False) -> Deployment:
    return perform(
        place, removal_request(place, words, "test", every_config=everything), "test", reason="old"
    )


def live(place: Project) -> set[str]:
    return set(load_snapshot(place, "test").configs)


def needed_by(place: Project, *words: str) -> list[str]:
    with pytest.raises(ProblemsFound) as raised:
        remove(place, *words)
    assert live_number(place) == 1
    return [problem.message for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("word", "with_draft"),
    [
        ("code_analysis", True),
        ("specialized_models/code_analysis.yaml", True),
        ("specialized_models/code_analysis", False),
        ("configs/specialized_models/code_analysis.yaml", False),
    ],
)
def test_a_config_is_taken_out_by_any_of_its_names_and_brought_back(
    place: Project, word: str, with_draft: bool
) -> None:
    before = live(place)
    switch_config(place, profile="high_accuracy", domain="code_analysis", environment="test")
    if not with_draft:
        (place.configs / "specialized_models/code_analysis.yaml").unlink()
    done = remove(place, word)
    assert before - live(place) == {"specialized_models/code_analysis"}
    assert done.plan.removed_domains == ("code_analysis",)
    assert load_snapshot(place, "test").profiles == {}
    last = list_deployments(place, ["test"])[-1]
    assert (last.revision.action, last.revision.reason) == ("remove", "old")
    assert last.removed == ("specialized_models/code_analysis",)
    assert remove(place, word).revision is None  # again is nothing to do
    rollback(place, environment="test")
    assert live(place) == before
    assert load_snapshot(place, "test").profiles == {"code_analysis": "high_accuracy"}


def test_what_stays_and_names_it_is_listed(place: Project) -> None:
    assert needed_by(place, "gpt4") == [
        "integration names gpt4: model_integration.primary_models.language",
        "specialized_models/code_analysis names gpt4: model",
    ]
    assert needed_by(place, "embedding_models/docs") == [
        "specialized_models/code_analysis names docs/handbook: retrieval.domains[0]"
    ]
    assert needed_by(place, "integration") == [
        "specialized_models/code_analysis answers with its budgets, limits and fallback",
        "specialized_models/summarization answers with its budgets, limits and fallback",
    ]


def test_a_hint_says_what_helps(place: Project) -> None:
    for word, without in (("gpt4", True), ("integration", False)):
        with pytest.raises(ProblemsFound) as raised:
            remove(place, word)
        assert ("without it first" in (raised.value.hint or "")) is without
        assert "models config remove" in (raised.value.hint or "")


def test_configs_that_need_each_other_go_together(place: Project) -> None:
    with pytest.raises(ProblemsFound) as raised:
        remove(place, "embedding_models/docs")
    assert "models config remove embedding_models/docs specialized_models/code_analysis" in str(
        raised.value.hint
    )
    done = remove(place, "docs", "code_analysis")
    assert done.revision is not None
    assert not {"embedding_models/docs", "specialized_models/code_analysis"} & live(place)


def test_a_profile_that_a_domain_was_switched_to_stays(place: Project) -> None:
    switch_config(place, profile="high_accuracy", domain="summaries", environment="test")
    with pytest.raises(ProblemsFound) as raised:
        remove(place, "high_accuracy")
    [problem] = raised.value.problems
    assert problem.message.startswith("summaries was switched to high_accuracy")
    switch_config(place, profile="balanced", domain="summaries", environment="test")
    assert remove(place, "high_accuracy").revision is not None


def test_what_was_never_live_is_an_error(place: Project) -> None:
    with pytest.raises(InvalidInput, match=r"no config 'claud' .did you mean 'claude'"):
        removal_request(place, ["claud"], "test")
    with pytest.raises(InvalidInput, match="no config was named"):
        removal_request(place, [], "test")
    with pytest.raises(NotDeployed):
        removal_request(place, ["claude"], "production")


def test_an_emptied_environment_need_not_be_declared(place: Project) -> None:
    declared = place.configs / "environments.yaml"
    declared.write_text("environments:\n  development: {}\n  production: {}\n")

    def undeclared() -> list[str | None]:
        report = check_named([str(declared)], find_live=live_environments)
        return [found.code for found in report.findings if found.level == "error"]

    assert undeclared() == ["live-environment"]
    declared.unlink()
    remove(place, everything=True)
    assert live(place) == set()
    declared.write_text("environments:\n  development: {}\n  production: {}\n")
    assert undeclared() == []
    assert [past.revision.action for past in list_deployments(place, ["test"])] == [
        "deploy",
        "remove",
    ]
    declared.unlink()
    rollback(place, environment="test")
    assert "integration" in live(place)


def test_what_is_left_is_deployed_again_as_it_is(place: Project) -> None:
    edit(place, "language_models/gpt4_config", "60 seconds", "50 seconds")
    before = load_snapshot(place, "test").configs
    remove(place, "code_analysis")
    left = load_snapshot(place, "test").configs
    assert {**left} == {label: before[label] for label in left}
