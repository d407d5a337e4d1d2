"""The main job on a tiny base: `models fine-tune` as users run it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from training_runs import Ended, arguments, flower_rows, run_here

from modelyard.core.layout import Project


def fine_tune(*more: str, settings: tuple[str, ...] = ()) -> Ended:
    return run_here(*arguments(*more, settings=settings))


def fine_tuned(*more: str, settings: tuple[str, ...] = ()) -> Ended:
    ended = fine_tune(*more, settings=settings)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_a_run_leaves_a_registered_adapter_that_is_better_than_its_base(flowers: Project) -> None:
    ended = fine_tune("--promote", "--json", settings=("schedule.epochs=8",))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["version"] == "flowers@1"
    assert result["in_use"]
    assert result["evaluation"]["difference"]["high"] < 0
    version = flowers.adapter_version("flowers", 1)
    names = {path.name for path in version.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert {"MANIFEST.json", "TRAINING_INFO.md"} <= names
    assert flowers.trained_link("flowers").resolve() == version.resolve()
    experiment = flowers.experiment("flowers")
    written = {path.name for path in experiment.iterdir()}
    assert {"spec.yaml", "data_report.json", "metrics.jsonl", "validation.json"} <= written
    assert "<html" in (experiment / "report.html").read_text()
    steps = [json.loads(line) for line in (experiment / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if "loss" in row] == list(range(1, 25))

    again = fine_tuned("--promote", settings=("schedule.epochs=8",))
    assert "already trained" in again.stdout


def test_plain_peft_loads_the_version_in_use(flowers: Project, tiny_base_folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fine_tuned("--promote", settings=("schedule.epochs=8",))
    link = flowers.trained_link("flowers")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base_folder), link)
    assert model.peft_config["default"].r == 4
    assert AutoTokenizer.from_pretrained(link).chat_template


def test_the_card_names_what_the_chat_template_left_out(
    flowers: Project,
    tiny_base_folder: Path,
    tmp_path: Path,
    write_jsonl: Callable[[Path, list[Any]], Path],
) -> None:
    folder = tmp_path / "forgetful"
    shutil.copytree(tiny_base_folder, folder)
    template = (folder / "chat_template.jinja").read_text()
    dropping = "(message['content'].split('</think>')[-1] | trim)"
    (folder / "chat_template.jinja").write_text(template.replace("message['content']", dropping))
    card = flowers.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), str(folder)))
    rows = flower_rows(24)
    for row in rows[:2]:
        row["messages"][1]["content"] = f"<think>Hm.</think>{row['messages'][1]['content']}"
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    line = (
        "2 rows whose reasoning the chat template leaves out "
        "(datasets/flowers/train.jsonl:1, datasets/flowers/train.jsonl:2)"
    )
    ended = fine_tuned(settings=("schedule.epochs=1",))
    assert line in " ".join(ended.stderr.split())
    version = flowers.adapter_version("flowers", 1)
    assert f"- {line}\n" in (version / "TRAINING_INFO.md").read_text()
    report = json.loads((flowers.experiment("flowers") / "data_report.json").read_text())
    assert len(report["without_reasoning"]) == 2


def test_a_worse_adapter_is_registered_and_not_promoted(
    flowers: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    other = [
        {"prompt": f"Say {n} zq backwards!", "completion": "xx qq zz ## @@ vv"} for n in range(6)
    ]
    write_jsonl(flowers.root / "datasets/flowers/eval.jsonl", other)
    ended = fine_tune("--promote", settings=("schedule.learning_rate=0.05", "schedule.epochs=6"))
    assert ended.returncode == 4, ended.stderr
    assert "not promoted" in ended.stderr
    assert flowers.adapter_version("flowers", 1).is_dir()
    assert not flowers.trained_link("flowers").exists()


def test_an_adapter_that_too_few_rows_judge_needs_more_of_them(
    flowers: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    alone = [{"prompt": "Say one zq backwards!", "completion": "qz"}]
    write_jsonl(flowers.root / "datasets/flowers/eval.jsonl", alone)
    ended = fine_tune("--promote", settings=("schedule.max_steps=1",))
    assert ended.returncode == 4, ended.stderr
    assert "with more evaluation rows (--eval-share)" in " ".join(ended.stderr.split())


def test_other_inputs_are_refused_by_name_until_fresh(
    flowers: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    fine_tuned()
    changed = fine_tune(settings=("seed=7",))
    assert changed.returncode == 2
    assert "seed was 0, and is 7 now" in changed.stderr
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", flower_rows(23))
    changed = fine_tune()
    assert changed.returncode == 2
    assert "the data changed" in changed.stderr
    fresh = fine_tune("--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert flowers.adapter_version("flowers", 2).is_dir()


def test_checking_writes_nothing(flowers: Project) -> None:
    before = sorted(flowers.root.rglob("*"))
    ended = fine_tune("--check", "--show", "2")
    assert ended.returncode == 0, ended.stderr
    assert "peak memory" in ended.stdout
    assert "‹It is a rose.<|im_end|>›" in ended.stdout
    assert sorted(path for path in flowers.root.rglob("*") if ".models" not in str(path)) == before


def test_a_nan_loss_stops_the_run_in_its_first_step(
    flowers: Project, tiny_base_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base_folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    card = flowers.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), str(broken)))
    ended = fine_tune()
    assert ended.returncode == 1
    assert "the loss is nan in step 1" in ended.stderr
    assert "datasets/flowers/train.jsonl:" in ended.stderr


def test_an_adapter_that_ends_as_it_began_is_an_error(flowers: Project) -> None:
    ended = fine_tune(settings=("schedule.learning_rate=1e-8", "schedule.max_steps=1",
                                "schedule.warmup_share=0.9"))  # fmt: skip
    assert ended.returncode == 1
    assert "unchanged after training" in ended.stderr
    assert not flowers.adapter_version("flowers", 1).exists()


@pytest.mark.parametrize(
    "settings",
    [
        ("lora.dora=true",),
        ("lora.rslora=true", "lora.dropout=0.1"),
        ("neftune_alpha=5", "data.packing=false"),
        ("compute.fast_path=false", "compute.checkpointing=always"),
        ("compute.checkpointing=always", "schedule.tokens_per_batch=64"),
        ("keep.stop_after_worse=1", "keep.evaluate_every_steps=1", "schedule.epochs=20"),
        ("compute.precision=bf16", "schedule.shape=constant", "lora.targets=[q_proj, v_proj]"),
    ],
    ids=lambda settings: settings[0],
)
def test_every_way_to_train_ends_with_a_version(
    flowers: Project, settings: tuple[str, ...]
) -> None:
    ended = fine_tune(settings=settings)
    assert ended.returncode == 0, ended.stderr
    assert flowers.adapter_version("flowers", 1).is_dir()


def test_a_constant_learning_rate_has_a_warm_up_too(flowers: Project) -> None:
    steps = ("schedule.max_steps=4", "schedule.warmup_share=0.5", "schedule.shape=constant")
    ended = fine_tune(settings=(*steps, "schedule.learning_rate=0.01"))
    assert ended.returncode == 0, ended.stderr
    rows = (flowers.experiment("flowers") / "metrics.jsonl").read_text().splitlines()
    rates = [row["learning_rate"] for row in map(json.loads, rows) if "learning_rate" in row]
    assert rates == pytest.approx([0.0, 0.005, 0.01, 0.01])


@pytest.mark.parametrize(
    "given",
    [{"extra": ("--quantize", "4bit")}, {"settings": ("compute.optimizer=adamw_8bit",)}],
)
@pytest.mark.parametrize("look", [(), ("--check",), ("--dry-run",)])
def test_what_needs_a_gpu_is_refused_before_the_base_is_looked_for(
    flowers: Project, given: dict[str, Any], look: tuple[str, ...]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    card = flowers.base_card("tiny")
    card.write_text(re.sub("path: .*", "path: nowhere", card.read_text()))
    ended = run_here(*arguments(*look, *given.get("extra", ()), settings=given.get("settings", ())))
    assert ended.returncode == 2
    assert "need" in ended.stderr and "CUDA GPU" in ended.stderr


def test_version_and_experiment_carry_the_organisation_of_the_data(flowers: Project) -> None:
    card = flowers.root / "datasets/flowers/DATASET.md"
    card.write_text("---\nname: flowers\norg: acme\n---\n\n# flowers\n")
    fine_tuned()
    run = json.loads((flowers.experiment("flowers") / "run.json").read_text())
    manifest = json.loads((flowers.adapter_version("flowers", 1) / "MANIFEST.json").read_text())
    assert run["org"] == manifest["org"] == "acme"
