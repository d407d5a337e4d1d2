"""`models fine-tune` with a model that its provider tunes: what is shown, asked and refused."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import review_rows
from tuning_server import KEY, TuningServer

from deploy_samples import deploy_config, edit
from example_configs import REPOSITORY, make_project
from modelyard.core.layout import Project

Models = Callable[..., int]
Write = Callable[[Path, list[Any]], Path]
SEED = ("fine-tune", "--dataset", "reviews", "--base-model", "gpt-4", "--experiment", "exp_004")


def test_check_says_what_would_leave_and_cost_without_a_call_or_a_key(
    reviews: Project,
    models: Models,
    tuning: TuningServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert models(*SEED, "--check") == 0
    out = capsys.readouterr().out
    assert "gpt-4o-2024-08-06 (gpt4 in development)" in out
    assert "12 conversations" in out and "4 evaluation rows" in out
    assert "one a byte" in out and "at $25.00 a million training tokens" in out
    assert '{"messages": [{"role": "user", "content": "What does function 0 return?"}' in out
    assert models(*SEED, "--check", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["train_rows"], found["evaluation_rows"], found["would"]) == (12, 4, None)
    assert tuning.requests == [] and not reviews.experiments.exists()


def test_the_line_runs_to_the_point_where_a_key_is_needed(
    reviews: Project,
    models: Models,
    tuning: TuningServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert models(*SEED) == 1
    shown = capsys.readouterr()
    assert "12 conversations" in shown.out
    assert "env:OPENAI_API_KEY: gpt4 is tuned by its provider, which needs a key" in shown.err
    assert tuning.requests == [] and not reviews.experiments.exists()


def test_the_whole_job_with_its_preview_and_result(
    reviews: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning.states = ["succeeded"]
    assert models(*SEED, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["would"] == "start"
    assert models(*SEED) == 0
    shown = capsys.readouterr()
    assert "succeeded" in shown.out and "gpt4_exp_004.yaml  (not deployed)" in shown.out
    assert "gpt4: Step 1" in shown.err
    assert models(*SEED, "--json") == 0
    job = json.loads(capsys.readouterr().out)
    assert job["already_done"] and job["config"] == "configs/language_models/gpt4_exp_004.yaml"
    assert models(*SEED, "--dry-run") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert models("validate-config", "gpt4_exp_004") == 0
    capsys.readouterr()
    everything = "".join(
        path.read_text(errors="replace") for path in reviews.root.rglob("*") if path.is_file()
    )
    assert KEY not in everything


def test_a_protected_environment_needs_yes_without_a_terminal(
    reviews: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy_config(reviews, environment="production", every_config=True)
    tuning.states = ["succeeded"]
    assert models(*SEED, "--env", "production") == 2
    err = capsys.readouterr().err
    assert "production needs a confirmation before rows leave this machine" in err
    assert tuning.requests == []
    assert models(*SEED, "--env", "production", "--yes") == 0
    assert len(tuning.uploads) == 1
    draft = reviews.configs / "language_models/gpt4_exp_004.yaml"
    assert "timeout: 30 seconds" in draft.read_text()  # as the base is in that environment


def test_flagged_rows_are_shown_first_and_need_yes_anywhere(
    reviews: Project,
    models: Models,
    tuning: TuningServer,
    write_jsonl: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = review_rows(12)
    rows[4]["messages"][0]["content"] = "May I send this to ann@example.org?"
    write_jsonl(reviews.root / "datasets/reviews/train.jsonl", rows)
    tuning.states = ["succeeded"]
    assert models(*SEED) == 2
    shown = capsys.readouterr()
    assert "train.jsonl:5 (message 1): e-mail address" in shown.out
    assert "may hold a secret or an address" in shown.err and tuning.requests == []
    assert models(*SEED, "--yes") == 0


def test_over_budget_is_refused_before_the_key_is_read(
    reviews: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(reviews, "integration", "per_day: $10", "per_day: $0.01")
    assert models(*SEED, "--check") == 4
    assert models(*SEED) == 4
    assert "in development, it could cost" in capsys.readouterr().err
    assert tuning.requests == []


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "an option of adapters": (
        ("--promote", "--quantize", "4bit"),
        "--quantize is for adapters that are trained here",
    ),
    "a setting of adapters": (
        ("--set", "lora.rank=8"),
        "a hosted job has schedule.epochs and seed",
    ),
    "no number of passes": (("--set", "schedule.epochs=2.5"), "a whole number between 1 and 50"),
    "too many passes": (("--set", "schedule.epochs=51"), "a whole number between 1 and 50"),
    "an odd experiment": (("--experiment", "../x"), "is not a valid experiment name"),
    "an odd organisation": (("--org", "A B"), "is not a valid organisation name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_hosted_job_does_not_have_is_refused(
    models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    words, message = REFUSED[what]
    assert models(*SEED, *words) == 2
    assert message in capsys.readouterr().err
    assert tuning.requests == []


def test_options_of_hosted_jobs_are_refused_for_a_base(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--yes", "--cancel"):
        assert models("fine-tune", "--dataset", "reviews", "--base-model", "tiny", option) == 2
        assert f"{option} is for models that their provider tunes" in capsys.readouterr().err


def test_an_experiment_is_hosted_or_local_and_not_both(
    reviews: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning.states = ["succeeded"]
    assert models(*SEED) == 0
    local = ("fine-tune", "--dataset", "reviews", "--base-model", "tiny")
    card = reviews.base_card("tiny")
    card.parent.mkdir(parents=True)
    card.write_text(
        "---\nname: tiny\nsummary: Random\nparameters: 1\nlicence: none\ncontext_length: 64\n"
        "sources:\n  - kind: path\n    path: nowhere\n---\n"
    )
    assert models(*local, "--experiment", "exp_004", "--dry-run") == 2
    assert "experiment exp_004 holds a hosted job" in capsys.readouterr().err
    (reviews.experiment("here")).mkdir()
    (reviews.experiment("here") / "run.json").write_text("{}")
    assert models(*SEED[:-1], "here") == 2
    assert "experiment here holds a run on this machine" in capsys.readouterr().err


def test_cancel_stops_the_job(
    reviews: Project, models: Models, tuning: TuningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning.states = ["running"]
    assert models(*SEED) == 0
    assert "The same command goes on following it" in capsys.readouterr().out
    assert models(*SEED, "--cancel", "--dry-run") == 0
    assert "Would have the provider stop it" in capsys.readouterr().out
    assert models(*SEED, "--cancel", "--fresh") == 2
    assert not any(request.endswith("/cancel") for request in tuning.requests)
    assert models("fine-tune", "--base-model", "gpt-4", *SEED[-2:], "--cancel") == 0
    assert "cancelled" in capsys.readouterr().out
    assert models(*SEED) == 1
    assert "was cancelled" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside idle threads
def test_on_a_terminal_it_asks_before_rows_leave(
    reviews: Project, tuning: TuningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_config(reviews, environment="production", every_config=True)
    tuning.states = ["succeeded"]
    monkeypatch.chdir(reviews.root)
    for answer, code in (("n", 1), ("y", 0)):
        ended, shown = on_a_terminal(answer, *SEED, "--env", "production")
        assert ended == code
        assert f"Send these 12 conversations to {tuning.url.split('/')[2]}? [y/N]" in shown
        assert len(tuning.uploads) == (answer == "y")


def on_a_terminal(answer: str, *words: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and give this answer; its exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
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


def test_the_seeds_line_on_this_repositorys_own_configs_and_data(
    tmp_path: Path,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = make_project(tmp_path / "own")
    data = "code_analysis_data"
    shutil.copytree(REPOSITORY / "datasets" / data, project.dataset(data))
    monkeypatch.chdir(project.root)
    monkeypatch.delenv("OPENAI_API_KEY")
    line = ("fine-tune", "--dataset", data, "--base-model", "gpt-4", "--experiment", "exp_004")
    assert models(*line, "--check", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tuned"] == "gpt-4.1-mini-2025-04-14" and found["train_rows"] == 44
    assert found["warnings"] == [] and found["flagged"] == []
    assert 0 < found["predicted"]["most_cost_usd"] < 1
    assert models(*line) == 1
    assert "env:OPENAI_API_KEY" in capsys.readouterr().err
