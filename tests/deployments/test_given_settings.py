"""`deploy-config --set KEY=VALUE`: checked like a file, live until the next deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy_samples import deploy_config, edit, rollback, switch_config, write_deploy_project
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.deploy import Deployment, carry_out, deployment_request, perform
from modelyard.deployments.drift import find_drift
from modelyard.deployments.effective import load_effective
from modelyard.deployments.explain import explain_config
from modelyard.deployments.history import list_deployments
from modelyard.deployments.plan import load_plan, write_plan
from modelyard.deployments.propose import propose


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, environment="production", every_config=True)
    return project


def deploy_with(place: Project, *settings: str, config: str = "gpt4") -> Deployment:
    request = deployment_request(place, [config], settings=settings)
    return perform(place, request, "production")


def refused(place: Project, *settings: str) -> list[tuple[str | None, str | None]]:
    with pytest.raises(ProblemsFound) as raised:
        deploy_with(place, *settings)
    return [(problem.where, problem.code) for problem in raised.value.problems]


def timeout_s(place: Project) -> float:
    return load_effective("production", "code_analysis", project=place).model.settings.timeout_s


def test_what_is_given_is_laid_over_the_file_and_its_overlay(place: Project) -> None:
    done = deploy_with(place, "timeout=45 seconds", "retries.attempts=7")
    [change] = done.plan.configs
    assert change.given == ("timeout", "retries.attempts")
    found = load_effective("production", "code_analysis", project=place)
    assert (found.model.settings.timeout_s, found.model.settings.retries.attempts) == (45.0, 7)
    deploy_with(place, "timeout=null")
    assert timeout_s(place) == 60.0  # the default, and not the overlay's 30 seconds


@pytest.mark.parametrize("value", ["", " ", "# a comment"])
def test_what_has_no_value_is_refused_and_no_reset(place: Project, value: str) -> None:
    """Such as `--set retries.attempts="$UNSET"`."""
    assert refused(place, f"retries.attempts={value}") == [("--set retries.attempts", "empty")]


def test_what_is_wrong_has_hints_that_help(place: Project) -> None:
    with pytest.raises(ProblemsFound) as raised:
        deploy_with(place, "timeout=soon")
    assert "config explain" in (raised.value.hint or "")
    done = deploy_with(place, "description=x: y")  # no mapping, with a `y` that means true
    assert done.plan.configs[0].given == ("description",)


def test_its_origin_is_shown_by_explain_history_and_drift(place: Project) -> None:
    deploy_with(place, "timeout=45 seconds")
    catalogue = ConfigCatalogue(place)
    [timeout] = explain_config(catalogue, "gpt4", "production", "timeout", draft=False).settings
    assert (timeout.value, timeout.layer, timeout.where, timeout.revision) == (
        "45 seconds",
        "--set",
        "--set timeout",
        2,
    )
    assert [past.given for past in list_deployments(place, ["production"])] == [
        (),
        ("language_models/gpt4 timeout",),
    ]
    drift = find_drift(place, "production")
    assert drift.files == ()
    [given] = drift.given
    assert (given.config, given.key, given.live, given.draft) == (
        "language_models/gpt4",
        "timeout",
        "45 seconds",
        "30 seconds",
    )


def test_it_stays_while_others_are_deployed_and_goes_with_the_next_of_its_config(
    place: Project,
) -> None:
    deploy_with(place, "timeout=45 seconds")
    edit(place, "language_models/claude_config", "Long texts", "Longer texts")
    deploy_config(place, ["claude"], environment="production")
    switch_config(place, profile="balanced", domain="summarization", environment="production")
    assert timeout_s(place) == 45.0
    done = deploy_config(place, environment="production", every_config=True)
    [change] = done.plan.configs
    assert (change.config, change.given, change.given_before) == (
        "language_models/gpt4",
        (),
        ("timeout",),
    )
    assert timeout_s(place) == 30.0
    assert find_drift(place, "production").given == ()
    rollback(place, environment="production")
    assert timeout_s(place) == 45.0
    assert [given.key for given in find_drift(place, "production").given] == ["timeout"]


def test_a_saved_plan_carries_it(place: Project, tmp_path: Path) -> None:
    request = deployment_request(place, ["gpt4"], settings=["timeout=45 seconds"])
    plan = propose(place, request, "production")
    write_plan(tmp_path / "plan.json", plan)
    bound = load_plan(tmp_path / "plan.json")
    assert bound == plan.preconditions
    carry_out(place, bound)
    assert timeout_s(place) == 45.0
    assert carry_out(place, bound).revision is None


def test_it_is_checked_like_a_value_of_a_file(place: Project) -> None:
    assert refused(place, "timeout=soon") == [("--set timeout", "wrong-unit")]
    assert refused(place, "retires.attempts=4") == [("--set retires.attempts", "unknown-key")]
    assert refused(place, "retries.attempts=99") == [("--set retries.attempts", "out-of-range")]
    assert refused(place, "fallback=nobody") == [("--set fallback", "unknown-reference")]
    assert refused(place, "model=${MODEL}") == [("--set model", "placeholder")]
    assert refused(place, "timeout") == [("--set timeout", "wrong-form")]
    assert refused(place, "name=other", "environments.test.timeout=1s") == [
        ("--set name", "unknown-key"),
        ("--set environments.test.timeout", "unknown-key"),
    ]
    assert refused(place, "retries=4", "retries.attempts=4") == [
        ("--set retries.attempts", "written-twice")
    ]
    assert refused(place, "timeout=1 s", "timeout=2 s") == [("--set timeout", "written-twice")]
    assert timeout_s(place) == 30.0


def test_a_secret_is_refused_and_not_repeated(place: Project) -> None:
    token = "ghp_" + "ab12CD34ef56GH78ij90KL12mn34OP56qr78"
    with pytest.raises(ProblemsFound) as raised:
        deploy_with(place, f"description=with {token}")
    [problem] = raised.value.problems
    assert (problem.code, problem.where) == ("inline-secret", "--set description")
    assert token not in f"{problem} {problem.hint}"


def test_it_is_for_one_config(place: Project) -> None:
    with pytest.raises(InvalidInput, match="--set is for one config, and several are deployed"):
        deployment_request(place, ["gpt4", "claude"], settings=["timeout=1 s"])
    with pytest.raises(InvalidInput, match="--set is for one config, and all are deployed"):
        deployment_request(place, [], every_config=True, settings=["timeout=1 s"])


def test_other_spellings_and_aliases_are_taken(place: Project) -> None:
    edit(
        place, "language_models/gpt4_config", "provider: openai", "aliases: [g4]\nprovider: openai"
    )
    deploy_config(place, ["gpt4"], environment="production")
    strategy = "model_integration.fallback_strategy"
    done = deploy_with(place, f"{strategy}.fallback_order=[g4, basic_nlp]", config="integration")
    [change] = done.plan.configs
    assert (change.given, change.settings[0].after) == (
        (f"{strategy}.order",),
        ["gpt4", "basic_nlp"],
    )
