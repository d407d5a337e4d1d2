"""Plans: written, carried out later, and refused when they no longer hold."""

from __future__ import annotations

import json
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
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.deployments.deploy import carry_out
from modelyard.deployments.plan import PlanPreconditions, Request, StalePlan, load_plan, write_plan
from modelyard.deployments.propose import propose
from modelyard.deployments.revisions import load_revision

GPT4 = Request(action="deploy", configs=("language_models/gpt4",))


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, ["claude"], environment="production")
    return project


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "release.json"


def written(place: Project, file: Path, request: Request = GPT4) -> PlanPreconditions:
    plan = propose(place, request, "production")
    write_plan(file, plan)
    bound = load_plan(file)
    assert bound == plan.preconditions
    return bound


def refusals(place: Project, bound: PlanPreconditions) -> list[str]:
    with pytest.raises(StalePlan, match="the plan for production is stale") as raised:
        carry_out(place, bound)
    return [problem.message for problem in raised.value.problems]


def test_a_plan_is_carried_out_as_it_was_written(place: Project, file: Path) -> None:
    bound = written(place, file)
    assert live_number(place, "production") == 1
    done = carry_out(place, bound, reason="release 14")
    assert done.revision is not None
    revision = load_revision(place, "production")
    assert (revision.number, revision.reason) == (2, "release 14")
    assert dict(revision.configs) == dict(bound.contents)


def test_a_plan_that_was_carried_out_is_nothing_to_do(place: Project, file: Path) -> None:
    bound = written(place, file)
    carry_out(place, bound)
    again = carry_out(place, bound)
    assert (again.revision, again.plan.preconditions.from_revision) == (None, 2)
    assert live_number(place, "production") == 2


@pytest.mark.parametrize(
    "request_",
    [
        Request(action="deploy", every_config=True),
        Request(action="switch", profile="high_accuracy", domain="code_analysis"),
        Request(action="undo"),
        Request(action="rollback", to=1),
        Request(action="rollback"),
    ],
    ids=lambda request: f"{request.action} {request.to or ''}",
)
def test_every_action_can_be_planned_and_carried_out(
    place: Project, file: Path, request_: Request
) -> None:
    switch_config(place, profile="high_accuracy", domain="summarization", environment="production")
    bound = written(place, file, request_)
    done = carry_out(place, bound)
    assert done.revision is not None
    assert done.revision.action == request_.action
    assert dict(done.revision.profiles) == dict(bound.profiles)


def test_a_changed_file_makes_a_plan_stale(place: Project, file: Path) -> None:
    bound = written(place, file)
    path = place.configs / "language_models" / "gpt4_config.yaml"
    path.write_text("# a comment\n" + path.read_text())
    assert refusals(place, bound) == [
        "the file configs/language_models/gpt4_config.yaml has changed"
    ]


def test_another_content_makes_a_plan_stale(place: Project, file: Path) -> None:
    bound = written(place, file)
    edit(place, "language_models/gpt4_config", "timeout: 30 seconds", "timeout: 20 seconds")
    assert refusals(place, bound) == [
        "the file configs/language_models/gpt4_config.yaml has changed",
        "the config language_models/gpt4 resolves to other content",
    ]


def test_another_revision_makes_a_plan_stale(place: Project, file: Path) -> None:
    bound = written(place, file)
    edit(place, "language_models/claude_config", "Long texts", "Longer texts")
    deploy_config(place, ["claude"], environment="production")
    assert refusals(place, bound) == [
        "revision 2 is live, and the plan starts from 1",
        "the config language_models/claude resolves to other content",
    ]


def test_another_profile_makes_a_plan_stale(place: Project, file: Path) -> None:
    deploy_config(place, environment="production", every_config=True)
    edit(place, "language_models/gpt4_config", "60 seconds", "61 seconds")
    edit(place, "language_models/gpt4_config", "30 seconds", "31 seconds")
    bound = written(place, file)
    switch_config(place, profile="high_accuracy", domain="code_analysis", environment="production")
    assert refusals(place, bound) == [
        "revision 3 is live, and the plan starts from 2",
        "the domain code_analysis would get another profile",
    ]


def test_a_rollback_that_would_go_elsewhere_makes_a_plan_stale(place: Project, file: Path) -> None:
    deploy_config(place, ["gpt4"], environment="production")
    bound = written(place, file, Request(action="rollback"))
    deploy_config(place, ["high_accuracy"], environment="production")
    assert "it would go back to revision 2, not to 1" in refusals(place, bound)
    rollback(place, environment="production", to=2)
    assert refusals(place, bound) == ["revision 4 is live, and the plan starts from 2"]


def test_a_plan_file_that_was_changed_is_refused(place: Project, file: Path) -> None:
    written(place, file)
    content = json.loads(file.read_text())
    content["bound_to"]["environment"] = "test"
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=r"release\.json: was changed after it was written"):
        load_plan(file)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '"digest"', "{" * 100_000, "\ud800", '{"digest": null}']
)
def test_what_is_no_plan_is_refused(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInput, match=r"is not a plan|was changed"):
        load_plan(file)
    with pytest.raises(InvalidInput, match="cannot read"):
        load_plan(file.parent)


def test_a_plan_file_says_what_would_change_for_whoever_reads_it(
    place: Project, file: Path
) -> None:
    edit(place, "language_models/claude_config", "8k", "9k")
    written(place, file, Request(action="deploy", configs=("language_models/claude",)))
    content = json.loads(file.read_text())
    (config,) = content["configs"]
    assert config["settings"] == [
        {"key": "max_output_tokens", "change": "changed", "before": "8k", "after": "9k"}
    ]
    assert (content["environment"], content["from_revision"]) == ("production", 1)


def test_where_only_the_environment_moved_on_no_file_is_blamed(place: Project, file: Path) -> None:
    first = Request(action="deploy", configs=("specialized_models/code_analysis",))
    bound = written(place, file, first)
    deploy_config(place, ["gpt4", "balanced"], environment="production")
    assert refusals(place, bound) == ["revision 2 is live, and the plan starts from 1"]
