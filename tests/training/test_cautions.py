"""What is said of runs that cannot show much, or that taught nothing for long."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from training_runs import arguments, flower_rows, run_here

from modelyard.core.layout import Project
from modelyard.training.cautions import course_cautions, planned_cautions, zero_loss_caution


def losses(*values: float, first: int = 1) -> list[dict[str, Any]]:
    return [{"step": first + place, "loss": value} for place, value in enumerate(values)]


def test_a_loss_of_zero_is_spoken_of_after_twenty_steps() -> None:
    assert zero_loss_caution(losses(*[0.4] * 5, *[0.0004] * 19)) is None
    said = zero_loss_caution(losses(*[0.4] * 5, *[0.0004] * 20))
    assert said is not None
    assert said.startswith("the loss was 0.000 from step 6 to step 25")


def test_a_loss_that_rose_again_is_not_spoken_of() -> None:
    assert zero_loss_caution(losses(*[0.0] * 30, 0.2)) is None
    assert zero_loss_caution(losses(*[0.0] * 30, 0.2, *[0.0] * 5)) is None


def test_steps_that_are_not_logged_count_too() -> None:
    every_tenth = [{"step": step, "loss": 0.0} for step in (10, 20, 30)]
    assert zero_loss_caution(every_tenth) is not None


def test_rows_without_a_loss_are_read_past() -> None:
    evaluations = [{"step": 3, "eval_loss": 0.1}, {"step": 4, "loss": None}]
    assert zero_loss_caution([*losses(*[0.0] * 20), *evaluations]) is not None


def test_ten_evaluation_rows_are_enough_and_none_is_another_matter() -> None:
    assert planned_cautions(evaluation_rows=10, steps=200, warmup_steps=10) == []
    assert planned_cautions(evaluation_rows=0, steps=200, warmup_steps=10) == []
    (said,) = planned_cautions(evaluation_rows=1, steps=200, warmup_steps=10)
    assert said.startswith("1 evaluation row: too few")


def test_a_short_run_is_told_of_its_idle_first_step() -> None:
    (said,) = planned_cautions(evaluation_rows=50, steps=12, warmup_steps=1)
    assert "step 1 of 12 changes nothing" in said
    rates = [{"step": step, "learning_rate": 0.1 * (step - 1)} for step in range(1, 13)]
    assert course_cautions(rates, evaluation_rows=50) == [said]
    assert course_cautions(rates[1:], evaluation_rows=50) == []


def test_the_terminal_json_and_report_say_so_once(
    flowers: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    write_jsonl(flowers.root / "datasets/flowers/eval.jsonl", flower_rows(3, start=100))
    settings = ("schedule.epochs=4", "schedule.warmup_share=0.3")
    checked = json.loads(run_here(*arguments("--check", "--json", settings=settings)).stdout)
    few, idle = checked["warnings"]
    assert few.startswith("3 evaluation rows")
    assert idle.startswith("step 1 of 12 changes nothing")

    ended = run_here(*arguments("--json", settings=settings))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["warnings"] == [few, idle]
    said = " ".join(ended.stderr.split())
    assert said.count(few) == said.count(idle) == 1
    report = (flowers.experiment("flowers") / "report.html").read_text()
    assert report.count(few) == report.count(idle.replace("'", "&#39;")) == 1
    again = json.loads(run_here(*arguments("--json", settings=settings)).stdout)
    assert again["already_done"]
    assert again["warnings"] == [few, idle]


def test_a_run_that_has_nothing_left_to_learn_says_so_while_it_runs(
    flowers: Project,
    write_jsonl: Callable[[Path, list[Any]], Path],
    tiny_base_folder: Path,
    tmp_path: Path,
) -> None:
    certain = tmp_path / "certain"
    shutil.copytree(tiny_base_folder, certain)
    weights = load_file(certain / "model.safetensors")
    # Random weights give all tokens nearly one chance, and the end of a turn, of zeros, no other.
    weights["model.norm.weight"].fill_(20.0)
    weights["model.embed_tokens.weight"][2] = weights["model.embed_tokens.weight"][3].flip(0)
    save_file(weights, certain / "model.safetensors", metadata={"format": "pt"})
    card = flowers.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), str(certain)))
    (row,) = flower_rows(1)
    row["messages"][1]["content"] = "no"
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", [row])
    settings = ("schedule.epochs=60", "schedule.learning_rate=1e-3", "schedule.shape=constant")
    ended = run_here(*arguments("--json", settings=settings))
    assert ended.returncode == 0, ended.stderr
    zero = [line for line in json.loads(ended.stdout)["warnings"] if "the loss was 0.000" in line]
    assert len(zero) == 1
    assert " ".join(ended.stderr.split()).count("the loss was 0.000") == 1
