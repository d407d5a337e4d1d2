"""`models deploy-config`, `deployments` and `switch-config` as a person and a program see them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy_samples import edit, live_number, require_agreement, write_deploy_project
from killed import fork
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.retrieval.indexes import load_indexes

Models = Callable[..., int]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = write_deploy_project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def models(place: Project, models_here: Models) -> Models:
    return models_here


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    return lambda: json.loads(capsys.readouterr().out)


GPT4 = ("deploy-config", "language_models/gpt4_config.yaml", "--env", "production")


def test_the_command_of_the_issue_in_ci_says_exactly_what_to_add(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*GPT4) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "production needs a confirmation, and there is no terminal to ask on" in err
    assert "`models deploy-config language_models/gpt4_config.yaml --env production --yes`" in err
    assert live_number(place, "production") == 0
    assert models(*GPT4, "--yes") == 0
    assert "Revision 1 is live in production." in capsys.readouterr().out
    assert models(*GPT4) == 0  # there is nothing left to say yes to
    assert (
        "Nothing to do: it is already live in production, with revision 1"
        in capsys.readouterr().out
    )


def test_an_edit_between_plan_and_deployment_goes_nowhere_unasked(
    models: Models, place: Project
) -> None:
    assert models(*GPT4, "--yes") == 0

    def deploy_beside_an_edit() -> None:
        left = ["60 seconds"]

        def edit_once(event: str, arguments: Any) -> None:
            if event != "fcntl.flock" or not left:
                return
            locked = Path("/proc/self/fd", str(arguments[0])).readlink()
            if locked.suffix == ".lock":  # the plan is made, the environment not held yet
                edit(place, "language_models/gpt4_config", left.pop(), "1 minute 1 second")
                edit(place, "language_models/gpt4_config", "30 seconds", "31 seconds")

        sys.addaudithook(edit_once)
        assert models(*GPT4) == 0  # as planned: nothing to do
        assert not left

    assert os.waitstatus_to_exitcode(os.waitpid(fork(deploy_beside_an_edit), 0)[1]) == 0
    assert live_number(place, "production") == 1
    require_agreement(place, "production")


def test_a_cut_off_rollback_is_reported_as_completed_without_a_yes(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*GPT4, "--yes") == 0
    assert models("deploy-config", "claude", "--env", "production", "--yes") == 0
    back = ("deploy-config", "--rollback", "--to", "1", "--env", "production")
    assert models(*back, "--yes") == 0
    with open_state(place) as state:
        state.execute("UPDATE config_revisions SET settled = 0 WHERE revision = 3")
    capsys.readouterr()
    assert models(*back, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["completed"], again["revision"]) == (True, 3)
    assert live_number(place, "production") == 3


def test_a_deployment_says_which_command_makes_the_index_that_it_names(
    models: Models,
    place: Project,
    capsys: pytest.CaptureFixture[str],
    printed: Callable[[], Any],
) -> None:
    line = "needs: models update-embeddings --env production  (no index yet: docs/handbook)"
    docs = ("deploy-config", "embedding_models/docs", "--env", "production")
    assert models(*docs, "--plan") == 4
    assert line in capsys.readouterr().out.splitlines()
    assert models(*docs, "--plan", "--json") == 4
    shown = printed()
    assert shown["missing_indexes"] == ["docs/handbook"]
    assert shown["needs"] == "models update-embeddings --env production"
    assert models(*docs, "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert models(*docs, "--yes", "--json") == 0, "nothing changes"
    assert printed()["needs"] is None

    index = load_indexes(place, "production")["docs/handbook"]
    index.path.parent.mkdir(parents=True)
    index.path.touch()
    edit(place, "embedding_models/docs", "description: The handbook", "description: All of it")
    assert models(*docs, "--yes") == 0
    assert "needs:" not in capsys.readouterr().out, "its settings are the same"
    edit(place, "embedding_models/docs", "docs/**/*.md", "docs/*.md")
    assert models(*docs, "--yes", "--json") == 0
    assert printed()["missing_indexes"] == ["docs/handbook"]


def on_a_terminal(place: Project, answer: str, *words: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and give this answer; its exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place.root)
        os.environ["COLUMNS"] = "200"
        os.execv(sys.executable, [sys.executable, "-m", "modelyard", *words])
    os.write(terminal, f"{answer}\n".encode())
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the terminal is gone with its last process
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside idle threads
def test_on_a_terminal_production_shows_the_plan_and_asks(place: Project) -> None:
    code, shown = on_a_terminal(place, "n", *GPT4)
    assert code == 1
    assert "+ language_models/gpt4" in shown
    assert "Make this live in production? [y/N]" in shown
    assert "nothing was changed in production: not confirmed" in shown
    assert live_number(place, "production") == 0
    code, shown = on_a_terminal(place, "y", *GPT4)
    assert code == 0
    assert live_number(place, "production") == 1


def test_the_other_environments_do_not_ask(models: Models, place: Project) -> None:
    assert models("deploy-config", "gpt4", "--env", "test") == 0
    assert live_number(place, "test") == 1


def test_the_environment_can_come_from_the_environment(
    models: Models, place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_ENV", "test")
    assert models("deploy-config", "gpt4") == 0
    assert live_number(place, "test") == 1
    monkeypatch.setenv("MODELS_ENV", "tset")
    assert models("deploy-config", "gpt4") == 2


def test_development_runs_drafts_so_a_deployment_names_another_environment(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("deploy-config", "gpt4") == 2
    assert "no environment was named" in capsys.readouterr().err
    for words in (["gpt4"], ["--all"], ["--rollback"]):
        assert models("deploy-config", *words, "--env", "development") == 2
        assert "development runs the drafts in configs/" in capsys.readouterr().err
    assert live_number(place, "development") == 0


def test_a_plan_exits_with_4_as_long_as_there_is_something_to_do(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*GPT4, "--plan") == 4
    out = capsys.readouterr().out
    assert "+ language_models/gpt4  new, 10 settings" in out
    assert "Nothing was changed in production, where nothing is live yet." in out
    assert models(*GPT4, "--dry-run") == 0
    assert not place.local_state.exists()
    models(*GPT4, "--yes")
    assert models(*GPT4, "--plan") == 0


def test_differences_are_shown_as_they_are_written(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("deploy-config", "--env", "test", "gpt4")
    edit(place, "language_models/gpt4_config", "60 seconds", "90 seconds")
    capsys.readouterr()
    assert models("deploy-config", "--env", "test", "gpt4") == 0
    out = capsys.readouterr().out
    assert "~ language_models/gpt4\n    timeout  60 seconds -> 90 seconds\n" in out
    assert "go back with `models deploy-config --rollback --env test`" in out


def test_a_deployment_shows_its_effects_before_and_after_it_is_live(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("deploy-config", "--env", "test", "--all")
    edit(place, "specialized_models/code_analysis", "model: gpt4", "model: claude")
    edit(place, "performance_profiles/balanced", "30 seconds", "45 seconds")
    capsys.readouterr()
    words = ("deploy-config", "--env", "test", "code_analysis", "balanced")
    assert models(*words, "--plan") == 4
    planned = capsys.readouterr().out
    assert "code_analysis:\n" in planned
    assert "    model.name " in planned and "gpt4 -> claude\n" in planned
    assert "summaries, summarization:\n    timeout  30 s -> 45 s\n" in planned
    assert models(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(planned.splitlines()) - 1] == planned.splitlines()[:-1]


def test_a_rollback_that_removes_a_domain_says_so(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("deploy-config", "--env", "test", "gpt4")
    models("deploy-config", "--env", "test", "code_analysis")
    models("switch-config", "--env", "test", "--profile", "high_accuracy")
    capsys.readouterr()
    assert models("deploy-config", "--env", "test", "--rollback", "--to", "1") == 0
    out = capsys.readouterr().out
    assert "code_analysis: no longer a domain\n" in out
    assert "profile high_accuracy" not in out


def test_a_file_that_no_deployment_wrote_is_said_to_be_removed(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("deploy-config", "--env", "test", "gpt4")
    models(*words)
    extra = place.deployed("test") / "mine.yaml"
    extra.write_text("x: 1\n")
    capsys.readouterr()
    name = ".models/deployed/test/mine.yaml"
    assert models(*words, "--plan") == 4
    assert f"Would be removed, since no deployment wrote it: {name}" in capsys.readouterr().out
    assert models(*words) == 0
    assert not extra.exists()
    out = capsys.readouterr().out
    assert f"Removed, since no deployment wrote it: {name}\nNothing else to do: " in out
    assert "Written again" not in out


def test_a_plan_file_is_written_carried_out_and_refused_when_stale(
    models: Models, place: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "release.json")
    assert models(*GPT4, "--plan", "--plan-file", file) == 4
    assert f"the plan is in {file}" in capsys.readouterr().err
    assert models("deploy-config", "--plan-file", file, "--env", "test") == 2
    assert "is a plan for production, and not for test" in capsys.readouterr().err
    assert models("switch-config", "--plan-file", file) == 2
    assert "is a plan of `models deploy-config`" in capsys.readouterr().err
    assert models("deploy-config", "--plan-file", file) == 2
    assert "needs a confirmation" in capsys.readouterr().err
    assert models("deploy-config", "--plan-file", file, "--dry-run") == 0
    edit(place, "language_models/gpt4_config", "The best answers", "The better answers")
    assert models("deploy-config", "--plan-file", file, "--yes") == 1
    err = capsys.readouterr().err
    assert "the plan for production is stale" in err
    assert "the file configs/language_models/gpt4_config.yaml has changed" in err
    edit(place, "language_models/gpt4_config", "The better answers", "The best answers")
    assert models("deploy-config", "--plan-file", file, "--yes") == 0
    assert models("deploy-config", "--plan-file", file, "--yes") == 0
    assert live_number(place, "production") == 1


def test_rollback_and_history(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("deploy-config", "--env", "test", "gpt4")
    models("deploy-config", "--env", "test", "claude", "--reason", "long texts")
    capsys.readouterr()
    assert models("deploy-config", "--env", "test", "--rollback") == 0
    out = capsys.readouterr().out
    assert "Back to revision 1:" in out
    assert "- language_models/claude" in out
    assert models("deployments") == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if " test " in line]
    assert [row[0] for row in rows] == ["live", "2", "1"]
    assert "rollback to 1: -language_models/claude" in out
    assert "long texts" in out
    assert models("deployments", "--json") == 0
    assert [load["revision"] for load in json.loads(capsys.readouterr().out)] == [1, 2, 3]
    assert models("deployments", "--env", "production") == 0
    assert "Nothing was deployed yet in production." in capsys.readouterr().out


def test_the_switch_of_the_issue_prints_before_and_after(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("switch-config", "--profile", "high_accuracy", "--domain", "code_analysis")
    assert models(*words) == 0
    out = capsys.readouterr().out
    assert "profile                       balanced -> high_accuracy" in out
    assert "timeout                       30 s -> 2 min" in out
    assert "samples                       1 -> 3" in out
    assert "language_models/" not in out, "drafts run in development: nothing is deployed"
    assert "undo with `models switch-config --undo --env development`" in out
    assert models(*words) == 0
    assert "Nothing to do: development uses these profiles already" in capsys.readouterr().out
    assert models("switch-config", "--undo") == 0
    out = capsys.readouterr().out
    assert "samples                       3 -> 1" in out
    hint = "`models switch-config --profile high_accuracy --domain code_analysis`"
    assert out.endswith(f"  switch again with {hint}\n")
    require_agreement(place)


def test_what_is_said_of_development_names_no_command_that_it_refuses(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    models("switch-config", "--profile", "high_accuracy", "--domain", "code_analysis")
    models("switch-config", "--undo", "--plan")
    models("switch-config", "--undo")
    assert models("switch-config", "--undo") == 1
    out, err = capsys.readouterr()
    assert "no switch left to undo in development" in err
    assert "deploy-config" not in out + err
    assert "live in development" not in out, "drafts run there"
    assert models("switch-config", "--undo", "--env", "test") == 1
    models("deploy-config", "--env", "test", "gpt4")
    assert models("switch-config", "--undo", "--env", "test") == 1
    assert "deploy-config --rollback --env test`" in capsys.readouterr().err


def test_a_switch_in_production_needs_a_yes_too(models: Models, place: Project) -> None:
    words = ("switch-config", "--profile", "high_accuracy", "--env", "production")
    assert models(*words) == 2
    assert models(*words, "--plan") == 4
    assert models(*words, "--yes") == 0
    assert models("switch-config", "--undo", "--env", "production") == 2
    assert models("deploy-config", "--rollback", "--to", "1", "--env", "production") == 0
    assert models("switch-config", "--undo", "--env", "production", "--yes") == 0
    assert models("deploy-config", "--rollback", "--env", "production") == 2


def test_drift_exits_with_4_and_with_5_where_nothing_is_deployed(
    models: Models, place: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("deployments", "--drift") == 5
    models("deploy-config", "--env", "test", "gpt4")
    capsys.readouterr()
    assert models("deployments", "--drift") == 0
    assert "test, revision 1: all as written" in capsys.readouterr().out
    file = place.deployed("test") / "language_models" / "gpt4.yaml"
    file.write_text(file.read_text().replace("60 seconds", "5 seconds"))
    assert models("deployments", "--drift") == 4
    out = capsys.readouterr().out
    assert "changed    .models/deployed/test/language_models/gpt4.yaml" in out
    assert "timeout  60 seconds -> 5 seconds" in out
    assert models("deployments", "--drift", "--env", "production") == 5


def test_a_program_reads_what_was_done(
    models: Models, place: Project, printed: Callable[[], Any]
) -> None:
    assert models("deploy-config", "--env", "test", "code_analysis", "--json") == 0
    value = printed()
    assert (value["revision"], value["from_revision"], value["dry_run"]) == (1, 0, False)
    assert models("switch-config", "--profile", "high_accuracy", "--json") == 0
    value = printed()
    assert value["profiles"][0] == {
        "domain": "code_analysis",
        "before": None,
        "after": "high_accuracy",
    }
    assert models("switch-config", "--undo", "--plan", "--json") == 4
    value = printed()
    assert (value["revision"], value["dry_run"], value["changes"]) == (None, True, True)
    assert models("deployments", "--json") == 0
    value = printed()
    assert [(item["revision"], item["live"]) for item in value] == [(1, True), (1, True)]
    (place.deployed("development") / "profiles.yaml").write_text("code_analysis: balanced\n")
    assert models("deployments", "--drift", "--json") == 4
    value = printed()
    assert value[0]["files"][0]["what"] == "changed"
    assert models(*GPT4, "--json", "--yes") == 0
    printed()


@pytest.mark.parametrize(
    "line",
    [
        "deploy-config",
        "deploy-config gpt4",
        "deploy-config --all --env development",
        "deploy-config --rollback --env development",
        "deploy-config --env test gpt4 --all",
        "deploy-config --env test gpt4 --to 3",
        "deploy-config --env test gpt4 --rollback",
        "deploy-config --plan-file no-such-file.json",
        "deploy-config gpt4 --plan-file release.json",
        "deploy-config gpt4 --env staging",
        "deploy-config --env test --rollback --to 0",
        "deploy-config --env test gpt5",
        "switch-config",
        "switch-config --undo --profile balanced",
        "switch-config --profile no_such_profile",
        "switch-config --profile balanced --domain nobody",
        "switch-config --domain code_analysis",
        "deployments --env staging",
    ],
)
def test_wrong_usage_exits_with_2(models: Models, line: str) -> None:
    assert models(*line.split()) == 2


SECRET = "sk-planted-4f9d2c81e07a"


def test_no_byte_of_a_secret_appears_anywhere(place: Project, tmp_path: Path) -> None:
    keys = place.root / "keys"
    keys.write_text(f"{SECRET}-file\n")
    edit(place, "language_models/claude_config", "/run/secrets/anthropic", str(keys))
    environment = {**os.environ, "OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET}
    plan = tmp_path / "plan.json"
    shown = b""
    for line in (
        "deploy-config --all --env production --plan --json",
        f"deploy-config --all --env production --plan --plan-file {plan}",
        "deploy-config --all --env production",
        "deploy-config --all --env production --yes",
        "switch-config --profile high_accuracy --env production --yes --json",
        "switch-config --undo --env production --yes",
        "deploy-config --rollback --env production --yes --reason because",
        "deployments --json",
        "deployments --drift",
    ):
        words = [sys.executable, "-m", "modelyard", *line.split()]
        done = subprocess.run(words, cwd=place.root, env=environment, capture_output=True,
                              timeout=60, check=False)  # fmt: skip
        assert done.returncode in (0, 2, 4), done.stderr
        shown += done.stdout + done.stderr
    assert live_number(place, "production") == 4
    places = [path for path in place.local_state.rglob("*") if path.is_file()]
    assert place.state_db in places
    kept = b"".join(path.read_bytes() for path in [*places, plan])
    assert b"env:OPENAI_API_KEY" in kept
    for text in (shown, kept):
        assert SECRET.encode() not in text
        assert b"planted" not in text


def test_explain_answers_from_what_commands_use(
    models: Models, place: Project, printed: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The profile that was switched to decides, and a draft only in development."""
    ask = ("config", "explain", "generation.temperature", "code_analysis", "--json", "--env")

    def explained(environment: str) -> tuple[float, str, str, int | None]:
        assert models(*ask, environment) == 0
        (setting,) = printed()["settings"]
        assert setting["parsed"] == setting["value"]
        return setting["value"], setting["layer"], setting["where"], setting["revision"]

    assert explained("development")[:2] == (0.2, "base")
    assert models("switch-config", "--profile", "high_accuracy", "--domain", "code_analysis") == 0
    capsys.readouterr()
    where = "configs/performance_profiles/high_accuracy.yaml:6:3"
    assert explained("development") == (0.4, "profile high_accuracy", where, 1)
    assert models(*ask, "test") == 1
    assert "nothing is deployed to test" in capsys.readouterr().err
    assert models("deploy-config", "--all", "--env", "test") == 0
    capsys.readouterr()
    where = "configs/specialized_models/code_analysis.yaml:7:3"
    assert explained("test") == (0.2, "base", where, 1)
    draft = place.configs / "specialized_models" / "code_analysis.yaml"
    draft.write_text(draft.read_text().replace("temperature: 0.2", "temperature: 0.3"))
    assert explained("test")[0] == 0.2
    assert models(*ask, "test", "--draft") == 0
    assert printed()["settings"][0]["value"] == 0.3
