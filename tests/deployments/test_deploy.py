"""What is live: deployments, what goes along with them, and the way back."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
import yaml

from deploy_samples import (
    deploy_config,
    edit,
    left_over,
    live_number,
    require_agreement,
    rollback,
    write_deploy_project,
)
from modelyard.core.errors import InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.deployments.deploy import deployment_request
from modelyard.deployments.history import list_deployments
from modelyard.deployments.revisions import (
    NotDeployed,
    find_live,
    list_revisions,
    load_revision,
    load_snapshot,
)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return write_deploy_project(tmp_path / "project")


def deploy(place: Project, *words: str, environment: str = "test") -> int:
    """Deploy, and return the number of the new revision."""
    done = deploy_config(place, words, environment=environment)
    assert done.revision is not None
    return done.revision.number


def test_a_config_goes_live_as_it_holds_in_the_environment(place: Project) -> None:
    assert deploy(place, "language_models/gpt4_config.yaml", environment="production") == 1
    assert deploy(place, "language_models/gpt4_config.yaml", environment="test") == 1
    production = load_snapshot(place, "production").configs["language_models/gpt4"].values
    assert production["timeout"] == "30 seconds"
    assert "environments" not in production
    values = load_snapshot(place, "test").configs["language_models/gpt4"].values
    assert values["timeout"] == "60 seconds"
    require_agreement(place, "production")
    require_agreement(place, "test")


def test_the_files_of_what_is_live_are_configs_again(place: Project) -> None:
    deploy(place, "code_analysis")
    folder = place.deployed("test")
    assert folder.readlink() == Path(".revisions/test-1")
    text = (folder / "specialized_models" / "code_analysis.yaml").read_text()
    content = load_snapshot(place, "test").configs["specialized_models/code_analysis"]
    assert text.startswith(
        "# specialized_models/code_analysis, as deployed to test: revision 1, "
        f"sha256 {content.digest}.\n"
    )
    assert "do not edit" in text
    assert "instructions: |\n  You answer questions on code.\n" in text
    assert yaml.safe_load(text) == {"name": "code_analysis", **content.values}
    assert yaml.safe_load((folder / "profiles.yaml").read_text()) == {}


def test_what_a_config_names_goes_along_and_the_plan_says_by_whom(place: Project) -> None:
    plan = deploy_config(place, ["code_analysis"], environment="test").plan
    named = {change.config: change.named_by for change in plan.configs}
    assert named == {
        "specialized_models/code_analysis": None,
        "language_models/gpt4": "specialized_models/code_analysis",
        "performance_profiles/balanced": "specialized_models/code_analysis",
        "embedding_models/docs": "specialized_models/code_analysis",
        "integration": "specialized_models/code_analysis",
        "language_models/claude": "integration",
        "language_models/basic_nlp": "integration",
        "specialized_models/summarization": "integration",
    }


def test_a_bare_search_domain_brings_the_group_that_has_it(place: Project) -> None:
    edit(place, "specialized_models/code_analysis", "docs/handbook", "handbook")
    deploy(place, "code_analysis")
    assert "embedding_models/docs" in load_revision(place, "test").configs


def test_what_is_live_already_stays_as_it_is(place: Project) -> None:
    deploy(place, "gpt4")
    edit(place, "language_models/gpt4_config", "60 seconds", "50 seconds")
    deploy(place, "code_analysis")
    values = load_snapshot(place, "test").configs["language_models/gpt4"].values
    assert values["timeout"] == "60 seconds"


def test_the_same_again_changes_nothing(place: Project) -> None:
    deploy(place, "code_analysis")
    again = deploy_config(place, ["code_analysis"], environment="test")
    assert again.revision is None
    assert [config.change for config in again.plan.configs] == ["unchanged"]
    edit(place, "language_models/gpt4_config", "model: gpt-4o", "# a comment\nmodel: gpt-4o")
    assert deploy_config(place, ["gpt4"], environment="test").revision is None
    assert live_number(place) == 1


def test_settings_that_differ_are_told_one_by_one_as_written(place: Project) -> None:
    deploy(place, "gpt4")
    edit(place, "language_models/gpt4_config", "timeout: 60 seconds", "timeout: 1 minute")
    edit(place, "language_models/gpt4_config", "temperature: 0.7", "top_p: 0.9")
    (change,) = deploy_config(place, ["gpt4"], environment="test").plan.configs
    assert [
        (setting.key, setting.change, setting.before, setting.after) for setting in change.settings
    ] == [
        ("generation.temperature", "removed", 0.7, None),
        ("timeout", "changed", "60 seconds", "1 minute"),
        ("generation.top_p", "added", None, 0.9),
    ]


def test_all_makes_the_environment_what_the_folder_says(place: Project) -> None:
    done = deploy_config(place, environment="test", every_config=True)
    assert len(done.plan.configs) == 9
    assert all(change.named_by is None for change in done.plan.configs)
    edit(place, "integration", "      summaries: summarization\n", "")
    edit(place, "integration", "    tasks:\n", "")
    (place.configs / "specialized_models" / "summarization.yaml").unlink()
    (place.configs / "performance_profiles" / "high_accuracy.yaml").unlink()
    done = deploy_config(place, environment="test", every_config=True)
    assert {config.config: config.change for config in done.plan.configs} == {
        "integration": "changed",
        "performance_profiles/high_accuracy": "removed",
        "specialized_models/summarization": "removed",
    }
    assert deploy_config(place, environment="test", every_config=True).revision is None


def test_an_invalid_config_stops_everything(place: Project) -> None:
    edit(place, "language_models/claude_config", "max_output_tokens: 8k", "max_output_tokens: 8x")
    with pytest.raises(ProblemsFound) as raised:
        deploy_config(place, ["gpt4", "code_analysis"], environment="test")
    assert any("claude_config.yaml:6:" in str(problem) for problem in raised.value.problems)
    assert find_live(place, "test") is None
    require_agreement(place)


def test_every_broken_file_is_told_at_once(place: Project) -> None:
    for name in ("claude_config", "gpt4_config"):
        (place.configs / "language_models" / f"{name}.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(ProblemsFound, match="not valid, so nothing was deployed") as raised:
        deploy_config(place, environment="test", every_config=True)
    assert {str(problem.where) for problem in raised.value.problems} >= {
        "configs/language_models/claude_config.yaml:2:1",
        "configs/language_models/gpt4_config.yaml:2:1",
    }
    with pytest.raises(ProblemsFound) as raised:
        deploy_config(place, ["gpt4", "claude"], environment="test")
    assert len(raised.value.problems) == 2


def test_a_broken_integration_is_not_left_out_silently(place: Project) -> None:
    (place.configs / "integration.yaml").write_text("{")
    with pytest.raises(ProblemsFound, match=r"integration\.yaml is not valid"):
        deploy_config(place, ["code_analysis"], environment="test")


def test_a_secret_in_a_config_is_refused_and_kept_nowhere(place: Project) -> None:
    secret = "sk-proj-4fT9d2c81eXb07aQmZp3LrV8"
    edit(place, "language_models/gpt4_config", "The best answers", f"The key is {secret}")
    with pytest.raises(ProblemsFound) as raised:
        deploy_config(place, ["gpt4"], environment="test")
    assert all(secret not in str(problem) for problem in raised.value.problems)
    kept = [path.read_bytes() for path in place.local_state.rglob("*") if path.is_file()]
    assert kept
    assert secret.encode() not in b"".join(kept)


def test_what_is_live_must_still_fit_together(place: Project) -> None:
    deploy(place, "code_analysis")
    edit(place, "embedding_models/docs", "handbook:", "manual:")
    edit(place, "specialized_models/code_analysis", "docs/handbook", "docs/manual")
    with pytest.raises(ProblemsFound, match="would be incomplete") as raised:
        deploy_config(place, ["embedding_models/docs"], environment="test")
    (problem,) = raised.value.problems
    assert str(problem) == (
        "specialized_models/code_analysis, retrieval.domains[0]: names docs/handbook, "
        "which would not be live"
    )
    assert problem.hint == "deploy specialized_models/code_analysis as well"
    done = deploy_config(place, ["docs", "code_analysis"], environment="test")
    assert done.revision is not None


@pytest.mark.parametrize("word", ["performance_profiles", "configs/performance_profiles"])
def test_a_folder_stands_for_every_config_in_it(
    place: Project, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(place.root)
    request = deployment_request(place, [word])
    assert request.configs == (
        "performance_profiles/balanced",
        "performance_profiles/high_accuracy",
    )
    declared = "environments:\n  development: {}\n  production: {}\n"
    (place.configs / "environments.yaml").write_text(declared)
    assert "environments" not in deployment_request(place, ["configs"]).configs
    (place.root / "empty").mkdir()
    with pytest.raises(InvalidInput, match="there is no config to deploy in empty"):
        deployment_request(place, ["empty"])


@pytest.mark.parametrize(
    ("words", "every", "message"),
    [
        ((), False, "no config was named"),
        (("gpt4",), True, "not both"),
        (("gpt5",), False, "there is no config 'gpt5'"),
        (("../outside.yaml",), False, "is not one of the project's configs"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(
    place: Project,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    every: bool,
    message: str,
) -> None:
    (place.root.parent / "outside.yaml").write_text("description: x\n")
    monkeypatch.chdir(place.root)
    with pytest.raises(InvalidInput, match=message):
        deploy_config(place, words, environment="test", every_config=every)
    assert not place.local_state.exists()


def test_an_unknown_environment_is_refused(place: Project) -> None:
    with pytest.raises(InvalidInput, match=r"no environment 'prodction' \(did you mean 'prod"):
        deploy_config(place, ["gpt4"], environment="prodction")
    assert not place.local_state.exists()


def test_a_dry_run_writes_nothing(place: Project) -> None:
    done = deploy_config(place, ["code_analysis"], environment="production", dry_run=True)
    assert done.plan.changes
    assert done.revision is None
    assert not place.local_state.exists()


def test_a_second_process_is_told_who_is_at_it(place: Project) -> None:
    lock = place.lock("environment", "test")
    with (
        exclusive_lock(lock, what="environment test"),
        pytest.raises(LockHeld, match=f"environment test is in use by process {os.getpid()}"),
    ):
        deploy_config(place, ["gpt4"], environment="test")
    deploy(place, "gpt4")


def versions(place: Project) -> list[int]:
    """Three revisions of one config, whose timeouts are 61, 62 and 63 seconds."""
    before = "60 seconds"
    for number in (1, 2, 3):
        edit(place, "language_models/gpt4_config", before, f"6{number} seconds")
        before = f"6{number} seconds"
        deploy(place, "gpt4")
    return [1, 2, 3]


def timeout(place: Project, number: int | None = None) -> str:
    values = load_snapshot(place, "test", number).configs["language_models/gpt4"].values
    return str(values["timeout"])


def test_a_rollback_makes_an_older_revision_a_new_one(place: Project) -> None:
    versions(place)
    done = rollback(place, environment="test", to=1, reason="63 is too long")
    assert done.revision is not None
    assert (done.revision.number, done.revision.from_revision) == (4, 1)
    assert timeout(place) == "61 seconds"
    assert [timeout(place, number) for number in (1, 2, 3)] == [f"6{n} seconds" for n in (1, 2, 3)]
    assert load_revision(place, "test").digest == load_revision(place, "test", 1).digest
    require_agreement(place)


def test_a_second_rollback_goes_one_further_back_and_never_forth(place: Project) -> None:
    versions(place)
    rollback(place, environment="test")
    assert timeout(place) == "62 seconds"
    rollback(place, environment="test")
    assert timeout(place) == "61 seconds"
    with pytest.raises(ModelyardError, match="nothing was live in test before revision 5"):
        rollback(place, environment="test")
    edit(place, "language_models/gpt4_config", "63 seconds", "64 seconds")
    deploy(place, "gpt4")
    rollback(place, environment="test")
    assert timeout(place) == "61 seconds"


def test_a_rollback_to_what_is_live_does_nothing(place: Project) -> None:
    versions(place)
    assert rollback(place, environment="test", to=3).revision is None
    assert live_number(place) == 3


def test_a_rollback_needs_something_to_go_back_to(place: Project) -> None:
    with pytest.raises(NotDeployed, match="nothing is deployed to test"):
        rollback(place, environment="test")
    deploy(place, "gpt4", environment="test")
    with pytest.raises(InvalidInput, match="test has no revision 7"):
        rollback(place, environment="test", to=7)
    with pytest.raises(ModelyardError, match="nothing was live in test before"):
        rollback(place, environment="test")


def test_the_history_says_what_each_revision_changed(place: Project) -> None:
    versions(place)
    deploy_config(place, ["claude"], environment="test", reason="a second opinion")
    rollback(place, environment="test", to=2)
    past = list_deployments(place, ("test", "production"))
    assert [(item.revision.action, item.added, item.changed, item.removed) for item in past] == [
        ("deploy", ("language_models/gpt4",), (), ()),
        ("deploy", (), ("language_models/gpt4",), ()),
        ("deploy", (), ("language_models/gpt4",), ()),
        ("deploy", ("language_models/claude",), (), ()),
        ("rollback", (), ("language_models/gpt4",), ("language_models/claude",)),
    ]
    assert [item.live for item in past] == [False, False, False, False, True]
    assert past[3].revision.reason == "a second opinion"
    assert past[0].revision.made_by
    assert past[0].revision.created_at.endswith("Z")


def test_contents_are_kept_once_and_only_the_live_folder_lies_on_the_disk(place: Project) -> None:
    versions(place)
    rollback(place, environment="test", to=1)
    deploy(place, "gpt4")
    with sqlite3.connect(place.state_db) as state:
        count = state.execute("SELECT count(*) FROM config_contents").fetchone()[0]
    state.close()
    assert count == 3 + 1, "three contents, and one record of where their settings stand"
    assert left_over(place) == []


def test_a_row_of_the_state_is_whole_json_with_its_digest(place: Project) -> None:
    deploy(place, "code_analysis")
    with sqlite3.connect(place.state_db) as state:
        (snapshot, files, settled) = state.execute(
            "SELECT snapshot, files, settled FROM config_revisions"
        ).fetchone()
    state.close()
    assert json.loads(snapshot)["configs"] == dict(load_revision(place, "test").configs)
    assert "specialized_models/code_analysis.yaml" in json.loads(files)
    assert settled == 1


def test_a_lost_history_begins_anew_with_the_next_deployment(place: Project) -> None:
    versions(place)
    for file in place.local_state.glob("state.db*"):
        file.unlink()
    assert list_revisions(place, "test") == []
    assert deploy(place, "gpt4") == 1
    require_agreement(place)
    assert left_over(place) == []
