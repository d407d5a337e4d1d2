"""The schedule where the settings say `auto`: what is chosen, shown and kept with the run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from training_runs import Ended, run_here

from modelyard.configs.kinds.fine_tuning import LoraSettings, ScheduleSettings
from modelyard.core.layout import Project
from modelyard.training.schedule import ChosenSchedule, choose_schedule

CHEAP = ("lora.rank=4", "compute.precision=fp32", "compute.threads=1")


def chosen(rows: int, width: int = 576, *, lora: LoraSettings | None = None) -> ChosenSchedule:
    return choose_schedule(ScheduleSettings(), lora or LoraSettings(), rows=rows, width=width)


def by_default(*more: str) -> Ended:
    """`fine-tune` on the flowers, whose schedule is left to the defaults."""
    settings = [part for setting in CHEAP for part in ("--set", setting)]
    return run_here("fine-tune", "--dataset", "flowers", "--base-model", "tiny", *settings, *more)


def record_of(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.experiment("flowers") / "run.json").read_text())
    return found


def begun_before(project: Project) -> None:
    """Make the record of the flowers' run one that began with the defaults of before."""
    record = record_of(project)
    record["identity"]["spec"] |= {
        "schedule.epochs": 3.0,
        "schedule.rows_per_step": 16,
        "schedule.learning_rate": 2e-4,
    }
    if "choices" in record:
        del record["choices"]["schedule"]
    (project.experiment("flowers") / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("rows", "epochs"), [(1, 10), (160, 10), (400, 4), (640, 2), (800, 2), (10_003, 2)]
)
def test_few_rows_are_passed_more_often(rows: int, epochs: float) -> None:
    assert chosen(rows).epochs == epochs


@pytest.mark.parametrize(
    ("rows", "rows_per_step"), [(10_003, 8), (20_000, 8), (20_001, 16), (10_000_000, 64)]
)
def test_a_step_takes_more_rows_only_in_a_very_long_run(rows: int, rows_per_step: int) -> None:
    assert chosen(rows).rows_per_step == rows_per_step


def test_the_rate_falls_with_the_width_of_the_base() -> None:
    rates = [chosen(800, width).learning_rate for width in (576, 2048, 4096)]
    assert rates == [2e-3, 5.6e-4, 2.8e-4]
    assert chosen(800, 16).learning_rate == 5e-3


@pytest.mark.parametrize(
    ("lora", "rate"),
    [
        (LoraSettings(rank=64), 2e-3),
        (LoraSettings(alpha=64), 1e-3),
        (LoraSettings(rank=64, rslora=True), 2.5e-4),
    ],
)
def test_the_rate_depends_on_the_scale_of_the_change(lora: LoraSettings, rate: float) -> None:
    assert chosen(800, lora=lora).learning_rate == rate


def test_what_is_set_stays() -> None:
    schedule = ScheduleSettings(epochs=1.5, rows_per_step=3, learning_rate=1e-5)
    assert choose_schedule(schedule, LoraSettings(), rows=50, width=576) == ChosenSchedule(
        epochs=1.5, rows_per_step=3, learning_rate=1e-5
    )


def test_the_epochs_that_are_set_decide_how_many_rows_a_step_takes() -> None:
    found = choose_schedule(ScheduleSettings(epochs=9), LoraSettings(), rows=10_000, width=576)
    assert found.rows_per_step == 32


def test_the_check_says_what_is_chosen(flowers: Project) -> None:
    ended = by_default("--check")
    assert ended.returncode == 0, ended.stderr
    assert "8 rows a step, learning rate up to 0.005" in ended.stdout
    figures = json.loads(by_default("--check", "--json").stdout)
    assert figures["choices"]["schedule"] == {
        "epochs": 10.0,
        "rows_per_step": 8,
        "learning_rate": 0.005,
    }


def test_the_run_its_card_and_its_manifest_hold_the_numbers(flowers: Project) -> None:
    ended = by_default()
    assert ended.returncode == 0, ended.stderr
    record = record_of(flowers)
    assert record["identity"]["spec"]["schedule.epochs"] == "auto"
    assert record["choices"]["schedule"]["epochs"] == 10.0
    folder = flowers.adapter_version("flowers", 1)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["spec"]["schedule"]["learning_rate"] == 0.005
    assert "schedule.rows_per_step: 8" in (folder / "TRAINING_INFO.md").read_text()


def test_a_run_of_the_former_defaults_is_finished_by_the_same_command(flowers: Project) -> None:
    assert by_default("--set", "schedule.max_steps=1").returncode == 0
    begun_before(flowers)
    again = by_default("--set", "schedule.max_steps=1")
    assert again.returncode == 0, again.stderr
    assert "flowers@1 is already trained and registered" in again.stdout


def test_a_run_of_the_former_defaults_goes_on_with_them(
    flowers: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--set", "schedule.max_steps=2")
    with monkeypatch.context() as patch:
        patch.setattr("modelyard.training.run._train", cut)
        assert by_default(*words).returncode == 3
    begun_before(flowers)
    looked = json.loads(by_default(*words, "--dry-run", "--json").stdout)
    assert (looked["would"]["action"], looked["steps"]) == ("start", 2)
    ended = by_default(*words)
    assert ended.returncode == 0, ended.stderr
    assert "2 steps of 16 rows each, learning rate 0.0002" in ended.stderr


def cut(*_: object, **__: object) -> None:
    raise OSError


def test_other_values_than_the_former_defaults_are_another_run(flowers: Project) -> None:
    assert by_default("--set", "schedule.max_steps=1").returncode == 0
    begun_before(flowers)
    other = by_default("--set", "schedule.max_steps=1", "--set", "schedule.learning_rate=1e-3")
    assert other.returncode == 2
    assert "schedule.learning_rate was 0.0002, and is 0.001 now" in other.stderr
