"""`models performance-test`: what it prints, which exit code, and what is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.performance.store import load_run, recent_runs
from provider_server import chat, whole
from suite_projects import SuiteProject, many, open_suite_project

BUSY = whole("503 Service Unavailable", {})
KEPT = "thresholds: {accuracy: 50%, error_rate: 20%}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SuiteProject]:
    with open_suite_project(tmp_path / "project") as opened:
        monkeypatch.chdir(opened.project.root)
        yield opened


def test_a_profile_is_tested_by_its_file_and_the_run_is_kept(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.suite(many(20) + KEPT, "comprehensive")
    words = ("performance-test", "--config", "balanced.yaml", "--test-suite", "comprehensive")
    assert models_here(*words) == 0
    shown, told = capsys.readouterr()
    assert told.startswith(
        "comprehensive on profile:balanced in development: 20 requests: 20 cases\n"
    )
    assert "in all, by the first 3" in told
    assert "Kept as run 1: 20 requests in" in told
    assert "pass" in shown
    run = load_run(place.project, "latest")
    assert (run.target, run.verdict, run.suite) == ("profile:balanced", "pass", "comprehensive")


def test_the_printed_json_is_a_run_that_can_be_read_again(
    place: SuiteProject,
    models_here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    printed_json: list[str],
) -> None:
    place.suite(many(3) + KEPT)
    assert models_here("performance-test", "--json") == 0
    shown = capsys.readouterr().out
    Path("run.json").write_text(shown)
    assert json.loads(shown)["number"] == 1
    assert load_run(place.project, "run.json") == load_run(place.project, "1")


def test_a_breach_shows_the_answers_and_ends_with_4(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.answer("Bob\x1b[2J leads it.")
    place.suite(many(8) + KEPT)
    assert models_here("performance-test", "--domain", "support") == 4
    shown, told = capsys.readouterr()
    assert "error: domain:support does not reach quick in development: accuracy 0%" in told
    assert "8 answers not right" in shown
    assert "it does not say Ann" in shown
    assert "and 3 more answers: `models report 1 --html FILE` shows them" in shown
    assert "\x1b[2J" not in shown + told


def test_a_model_that_always_fails_ends_with_4_and_without_a_traceback(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.server.answer(BUSY)
    place.suite(many(3))
    assert models_here("performance-test") == 4
    shown, told = capsys.readouterr()
    assert "no request was answered" in told
    assert "100%" in shown
    assert "Traceback" not in told


def test_a_run_that_measured_nothing_ends_with_5(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(
        "integration",
        "model_integration:\n  primary_models: {language: house}\n  budgets: {per_day: $0}\n",
    )
    place.suite(many(3) + KEPT)
    assert models_here("performance-test") == 5
    shown, told = capsys.readouterr()
    assert "not counted: 3 over limit" in shown
    assert "3 requests were not made, for want of budget" in told
    assert "say nothing of the models" in told
    assert "no request was made" in told


def test_nobody_can_tell_is_0_and_with_strict_5(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.suite(many(4) + "thresholds: {accuracy: 85%}\n")
    assert models_here("performance-test") == 0
    assert "cannot tell, 18 more needed" in capsys.readouterr().out
    assert models_here("performance-test", "--strict") == 5
    assert "nobody can tell yet: accuracy" in capsys.readouterr().err
    place.suite(many(4))
    assert models_here("performance-test", "--strict") == 5
    assert "has no thresholds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--test-suite", "quik"), 2, "did you mean 'quick'?"),
        (("--config", "balancd"), 2, "did you mean 'balanced'?"),
        (("--config", "integration.yaml"), 2, "cannot be tested by itself"),
        (("--model", "nobody"), 2, "no model is called 'nobody'"),
        (("--model", "house", "--adapter", "x"), 2, "both name the model"),
        (("--config", "house", "--model", "house"), 2, "is a language model"),
        (("--domain", "suport"), 2, "did you mean 'support'?"),
        (("--env", "production"), 1, "nothing is deployed"),
        (("--test-suite", "empty"), 2, "has no questions"),
        (("--repeat", "0"), 2, "at least 1"),
    ],
)
def test_what_cannot_be_tested_is_said(
    place: SuiteProject,
    models_here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    place.suite(many(1))
    place.suite("description: None\nchecks: [{name: none}]\n", "empty")
    assert models_here("performance-test", *words) == code
    assert said in capsys.readouterr().err
    assert place.server.asked == []


def test_a_language_model_and_a_domain_are_configs_too(
    place: SuiteProject, models_here: Callable[..., int]
) -> None:
    place.suite(many(1))
    for config in ("house", "language_models/house.yaml", "support"):
        assert models_here("performance-test", "--config", config) == 0
    targets = [row.target for row in recent_runs(place.project)]
    assert targets == ["domain:support", "model:house", "model:house"]


def test_what_is_deployed_is_tested_and_not_the_drafts(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.suite(many(2))
    place.write(
        "integration",
        "model_integration:\n  primary_models: {language: house}\n"
        "  fallback_strategy: {order: [basic_nlp]}\n",
    )
    assert models_here("deploy-config", "--all", "--env", "test") == 0
    place.suite(many(7))
    (place.project.configs / "performance_profiles" / "balanced.yaml").unlink()
    place.write("performance_profiles/other", "description: Another draft\n")
    words = ("performance-test", "--config", "balanced.yaml", "--env", "test")
    assert models_here(*words) == 0
    run = load_run(place.project, "latest", environment="test")
    assert (run.target, run.config_revision, len(run.cases)) == ("profile:balanced", 1, 2)
    assert models_here("performance-test", "--config", "other", "--env", "test") == 2
    assert "there is no performance profile 'other' in test" in capsys.readouterr().err


def test_a_run_that_cannot_be_kept_is_shown(
    place: SuiteProject, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    place.suite(many(2))
    folder = place.project.local_state / "test-runs"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")
    assert models_here("performance-test") == 2
    shown, told = capsys.readouterr()
    assert "accuracy" in shown
    assert "it is not kept" in told
    assert recent_runs(place.project) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_kept_with_what_was_measured(
    place: SuiteProject, number: signal.Signals
) -> None:
    place.suite(many(500) + KEPT)
    place.server.answer(*[chat("Ann.")] * 5, [3600.0])
    line = [sys.executable, "-m", "modelyard", "performance-test"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        until = time.monotonic() + 60
        while len(place.server.asked) < 6 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted; what was measured is kept as run 1" in told
    run = load_run(place.project, "1")
    assert (run.complete, run.right, run.verdict) == (False, 5, "cannot_tell")
