"""A run that is killed goes on, and ends with the weights of a run that was not."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import arguments, cut_off, flowers_spec, run_here, start_process

from killed import SOAK
from modelyard.adapters.versions import AdapterVersion, list_versions
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.training.experiment import list_checkpoints
from modelyard.training.run import fine_tune

# `make soak` multiplies by ten: see docs/reliability.md.
KILLS = 2 if SOAK == 1 else 3 * SOAK
LONGER = ("schedule.epochs=10", "lora.dropout=0.1")


def in_soak(number: signal.Signals) -> Any:
    """A signal that `make test` leaves to the other test: one handler takes both."""
    return pytest.param(number, marks=pytest.mark.soak)


@pytest.fixture(scope="module")
def kept_weights() -> dict[str, torch.Tensor]:
    """The weights that the first `whole` found, for the next."""
    return {}


@pytest.fixture
def whole(flowers: Project, kept_weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing interrupts."""
    if not kept_weights:
        ended = run_here(*arguments("--adapter", "whole", settings=LONGER))
        assert ended.returncode == 0, ended.stderr
        kept_weights.update(weights_of(list_versions(flowers, "whole")[-1]))
    return kept_weights


def weights_of(version: AdapterVersion) -> dict[str, torch.Tensor]:
    return load_file(version.path / "adapter_model.safetensors")


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def wait_for_step(project: Project, experiment: str, step: int) -> None:
    path = project.experiment(experiment) / "metrics.jsonl"
    for _ in range(6000):
        if path.exists() and path.read_text().count('"loss"') >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"{experiment} never came to step {step}")


@pytest.mark.parametrize("number", [signal.SIGTERM, in_soak(signal.SIGINT)])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on(
    flowers: Project, whole: dict[str, torch.Tensor], number: signal.Signals
) -> None:
    command = arguments("--adapter", "stopped", settings=LONGER)
    process = start_process(*command)
    wait_for_step(flowers, "stopped", 3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "it is saved" in stderr
    assert "Traceback" not in stderr
    assert list_checkpoints(flowers.experiment("stopped") / "checkpoints")
    ended = run_here(*command)
    assert ended.returncode == 0, ended.stderr
    assert "go on after step" in ended.stderr
    assert largest_difference(whole, weights_of(list_versions(flowers, "stopped")[-1])) == 0.0


@pytest.mark.parametrize("number", [signal.SIGINT, in_soak(signal.SIGTERM)])
def test_a_signal_after_training_stops_at_once_and_promotes_nothing(
    flowers: Project, number: signal.Signals
) -> None:
    command = arguments("--adapter", "late", "--promote")
    process = start_process(*command)
    seen = []
    assert process.stderr
    for line in process.stderr:
        seen.append(line)
        if line.startswith("evaluate:"):
            process.send_signal(number)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, -number), "".join(seen) + stderr
    assert not flowers.trained_link("late").exists()
    ended = run_here(*command)
    assert ended.returncode in (0, 4), ended.stderr
    assert "train: " not in ended.stderr


def test_a_run_killed_at_random_moments_ends_with_the_same_weights(
    flowers: Project, whole: dict[str, torch.Tensor]
) -> None:
    command = arguments("--adapter", "killed", settings=LONGER)
    chance = random.Random(4)
    began = time.monotonic()
    start_process(*command, "--fresh").communicate(timeout=120)
    whole_s = time.monotonic() - began
    for kill in range(KILLS):
        process = start_process(*command, *(["--fresh"] if kill % 3 == 0 else []))
        time.sleep(chance.uniform(0, whole_s))
        process.kill()
        process.communicate(timeout=60)
        for version in list_versions(flowers, "killed"):
            assert (version.path / "MANIFEST.json").is_file()
        for checkpoint in list_checkpoints(flowers.experiment("killed") / "checkpoints"):
            assert (checkpoint / "trainer_state.json").is_file()
            assert (checkpoint / "adapter_model.safetensors").is_file()
        metrics = flowers.experiment("killed") / "metrics.jsonl"
        if metrics.exists():
            for line in metrics.read_text().splitlines():
                json.loads(line)
    ended = run_here(*command)
    assert ended.returncode == 0, ended.stderr
    difference = largest_difference(whole, weights_of(list_versions(flowers, "killed")[-1]))
    print(f"{KILLS} kills, largest difference of a weight {difference}")
    assert difference == 0.0


def test_a_second_run_of_the_same_experiment_says_who_holds_it(flowers: Project) -> None:
    process = start_process(*arguments(settings=("schedule.epochs=300",)))
    wait_for_step(flowers, "flowers", 1)
    try:
        ended = run_here(*arguments(settings=("schedule.epochs=300",)))
        assert ended.returncode == 1
        assert f"in use by process {process.pid}" in ended.stderr
    finally:
        process.kill()
        process.communicate()


def test_every_stage_after_training_can_be_cut_off(
    flowers: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation, registration and the report begin again from the trained weights."""
    for stage in ("_evaluate", "_register", "_write_report"):
        cut_off(stage, flowers, monkeypatch)
    result = fine_tune(flowers, flowers_spec(), progress=Silent())
    assert result.version.name == "flowers@1"
    assert [version.number for version in list_versions(flowers, "flowers")] == [1]
    assert (result.experiment / "report.html").is_file()


def test_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    for step in (100, 9, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / ".staging-checkpoint-5").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-20",
        "checkpoint-100",
    ]
