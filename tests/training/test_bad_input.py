"""Each kind of bad input gets a message that a stranger can act on, before any weight is loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import Ended, arguments, flower_rows, run_here, start_process

from modelyard.configs.kinds.fine_tuning import FineTuning
from modelyard.core.layout import Project
from modelyard.settings.fields import flatten_settings, settings_mapping

Write = Callable[[Path, list[Any]], Path]


def refused(ended: Ended, code: int, *words: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr


def test_a_missing_dataset_is_named_with_the_nearest_one(flowers: Project) -> None:
    ended = run_here("fine-tune", "--dataset", "flower", "--base-model", "tiny")
    refused(ended, 2, "there is no dataset 'flower'", "did you mean 'flowers'?")


def test_no_dataset_at_all_is_wrong_usage(flowers: Project) -> None:
    for words in ((), ("--check",)):
        ended = run_here("fine-tune", *words)
        refused(ended, 2, "'dataset' is required", "--dataset NAME")
        assert "'adapter'" not in ended.stderr and "'experiment'" not in ended.stderr


@pytest.mark.parametrize("name", ["[/red]", "Pay slips", "???"])
def test_a_dataset_that_is_not_there_is_named_and_not_what_is_named_after_it(
    flowers: Project, name: str
) -> None:
    ended = run_here("fine-tune", "--dataset", name, "--base-model", "tiny", "--check")
    refused(ended, 2, name)
    assert "adapter" not in ended.stderr


def test_an_empty_file_is_refused(flowers: Project, write_jsonl: Write) -> None:
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", [])
    refused(run_here(*arguments()), 2, "train.jsonl", "is empty")


def test_a_row_that_is_not_json_is_named_by_its_line(flowers: Project, write_jsonl: Write) -> None:
    rows: list[Any] = flower_rows(7400)
    rows[7311] = '{"messages": [oops'
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    refused(run_here(*arguments()), 2, "datasets/flowers/train.jsonl:7312", "not JSON")


def test_every_bad_row_is_reported_at_once(flowers: Project, write_jsonl: Write) -> None:
    rows: list[Any] = flower_rows(10)
    rows[2] = {"messages": [{"role": "wizard", "content": "x"}]}
    rows[5] = {"messages": [{"role": "user", "content": "is there an answer?"}]}
    rows[8] = {"text": "nothing"}
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    ended = run_here(*arguments())
    refused(ended, 2, "train.jsonl:3", "wizard", "train.jsonl:6", "assistant", "train.jsonl:9")


def test_an_answer_that_is_cut_off_is_refused(flowers: Project, write_jsonl: Write) -> None:
    rows = flower_rows(10)
    rows[3]["messages"][0]["content"] = "a very long question " * 40
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    ended = run_here(*arguments(settings=("data.max_length=64",)))
    refused(ended, 2, "train.jsonl:4", "cut off", "max_length")


def test_a_row_longer_than_the_base_takes_is_to_be_split(
    flowers: Project, write_jsonl: Write
) -> None:
    rows = flower_rows(10)
    rows[3]["messages"][0]["content"] = "a very long question " * 400
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    ended = run_here(*arguments("--check"))
    refused(ended, 2, "train.jsonl:4", "split or remove the row", "512 at most with this base")


def test_what_cannot_be_judged_is_refused_before_training(
    flowers: Project, write_jsonl: Write
) -> None:
    rows: list[Any] = flower_rows(6, start=100)
    rows[1] |= {"expect": ["nine"]}
    rows[4] |= {"label": 5}
    write_jsonl(flowers.root / "datasets/flowers/eval.jsonl", rows)
    ended = run_here(*arguments("--check"))
    refused(ended, 2, "eval.jsonl:2: 'expect' must be", "eval.jsonl:5: 'label' must be")


def test_rows_are_shown_and_not_obeyed(flowers: Project, write_jsonl: Write) -> None:
    rows = flower_rows(3)
    rows[0]["messages"][1]["content"] = "\x1b[31mred"
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    ended = run_here(*arguments("--check", "--show", "3"))
    assert ended.returncode == 0, ended.stderr
    assert "\\x1b[31mred" in ended.stdout
    assert "\x1b" not in ended.stdout


def use_template(flowers: Project, tiny_base_folder: Path, folder: Path, template: str) -> None:
    """Let the base `tiny` be a copy with another chat template."""
    shutil.copytree(tiny_base_folder, folder)
    (folder / "chat_template.jinja").write_text(template)
    card = flowers.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), str(folder)))


def test_a_template_that_is_not_prefix_stable_is_one_error(
    flowers: Project, tiny_base_folder: Path, tmp_path: Path
) -> None:
    template = (
        "{{ messages|length }} turns\n{% for message in messages %}<|im_start|>"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    )
    use_template(flowers, tiny_base_folder, tmp_path / "unstable", template)
    ended = run_here(*arguments())
    refused(ended, 2, "not prefix-stable", "chat_template.jinja")
    assert ended.stderr.count("not prefix-stable") == 1  # for train and eval together


MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: TEXT{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)
PARTS = "{% for part in m.content %}{{ part.text }}{% endfor %}<|im_end|>"
NO_SYSTEM = "{% if m.role != 'system' %}{{ m.content }}{% endif %}<|im_end|>"


@pytest.mark.parametrize(
    ("template", "reason", "hint"),
    [
        (MARKED.replace("TEXT", PARTS), "leaves out the text of user turns", "a list of parts"),
        (MARKED.replace("TEXT", NO_SYSTEM), "leaves out the text of system turns", "other turns"),
        (
            MARKED.replace("TEXT", "{{ m.content }}{{ '\n' }}").replace("<|im_start|>", "# "),
            "ends an answer with no token, and the base stops at <|im_end|>",
            "end each answer with <|im_end|>",
        ),
        (
            MARKED.replace("TEXT", "{{ m.content }}{{ '\n' }}"),
            "ends an answer with nothing but the <|im_start|> of the next turn, and the base stops",
            "add its id 1 to eos_token_id",
        ),
    ],
)
def test_a_template_that_loses_texts_or_ends_no_answer_is_one_error_before_training(
    flowers: Project,
    tiny_base_folder: Path,
    tmp_path: Path,
    write_jsonl: Write,
    template: str,
    reason: str,
    hint: str,
) -> None:
    rows = flower_rows(24)
    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "Name the flower."})
    write_jsonl(flowers.root / "datasets/flowers/train.jsonl", rows)
    use_template(flowers, tiny_base_folder, tmp_path / "own", template)
    for command in (arguments("--check"), arguments()):
        ended = run_here(*command)
        refused(ended, 2, "own/chat_template.jinja")
        said = " ".join(ended.stderr.split())
        assert reason in said and hint in said and said.count(reason) == 1
        assert "in 24 of 24 rows" in said


def test_a_row_in_train_and_eval_is_refused(flowers: Project, write_jsonl: Write) -> None:
    write_jsonl(flowers.root / "datasets/flowers/eval.jsonl", flower_rows(2))
    refused(run_here(*arguments()), 2, "eval.jsonl:1", "is also in train")


@pytest.mark.parametrize("name", ["../secret", "/etc", "a/../../b", "UPPER"])
def test_a_dataset_name_never_leaves_the_project(flowers: Project, name: str) -> None:
    ended = run_here("fine-tune", "--dataset", name, "--base-model", "tiny")
    refused(ended, 2)


def test_a_hosted_model_is_not_trained_here(flowers: Project) -> None:
    ended = run_here("fine-tune", "--dataset", "flowers", "--base-model", "gpt-4")
    refused(ended, 2, "hosted model", "tiny")


def test_an_unknown_target_module_is_refused(flowers: Project) -> None:
    ended = run_here(*arguments(settings=("lora.targets=[c_attn]",)))
    refused(ended, 2, "c_attn", "q_proj")


def test_an_adapter_without_targets_is_refused_before_any_weight_is_loaded(
    flowers: Project,
) -> None:
    ended = run_here(*arguments("--check", settings=("lora.targets=[]",)))
    refused(ended, 2, "lora.targets", "nothing to train")


def test_another_organisations_data_is_refused(flowers: Project) -> None:
    folder = flowers.root / "datasets/flowers"
    (folder / "DATASET.md").write_text("---\nname: flowers\norg: acme\n---\n\n# flowers\n")
    refused(run_here(*arguments("--org", "umbrella")), 2, "acme", "umbrella")


def test_a_full_disk_is_an_error_before_training(flowers: Project, tmp_path: Path) -> None:
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        small = disk / "project"
        subprocess.run(["cp", "-a", str(flowers.root), str(small)], check=True)
        os.environ["MODELS_PROJECT"] = str(small)
        refused(run_here("--project", str(small), *arguments()), 1, "are free", "MB")
    finally:
        os.environ.pop("MODELS_PROJECT", None)
        subprocess.run(["umount", str(disk)], check=True)


def test_a_damaged_base_is_found_before_training(
    flowers: Project, tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_base_folder, folder)
    card = flowers.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), str(folder)))
    assert run_here("base", "pull", "tiny").returncode == 0
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    refused(run_here(*arguments()), 1, "damaged", "model.safetensors")


def test_a_base_that_cannot_be_had_says_which_source_failed_and_why(flowers: Project) -> None:
    card = flowers.base_card("tiny")
    front = card.read_text().partition("sources:")[0]
    card.write_text(
        front + "sources:\n  - kind: hub\n    repo: example/nothing\n    revision: main\n---\n"
    )
    ended = run_here(*arguments("--offline"))
    refused(ended, 1, "example/nothing", "offline")


def test_bad_input_ends_without_a_traceback_in_a_process_of_its_own(flowers: Project) -> None:
    process = start_process("fine-tune", "--dataset", "flowers", "--set", "lora.rnak=8")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stdout == ""
    assert "did you mean 'lora.rank'?" in stderr


def test_checking_prints_json_for_programs(flowers: Project) -> None:
    ended = run_here(*arguments("--check", "--json"))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["rows"] == {"train": 24, "eval": 6}
    assert found["memory_bytes"]["total"] > 0
    assert found["would_register"] == "flowers@1"


@pytest.mark.parametrize("text", ["[" * 20_000, "not json", "[]"])
def test_a_damaged_record_of_a_run_is_named(flowers: Project, text: str) -> None:
    record = flowers.root / "experiments/flowers/run.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    refused(run_here(*arguments()), 1, "run.json", "--fresh")
    refused(run_here(*arguments("--dry-run")), 1, "run.json", "--fresh")


@pytest.mark.parametrize("number", ["99999999999999999999999", "1e308"])
def test_a_huge_number_in_any_setting_is_taken_or_refused_at_once(
    flowers: Project, number: str
) -> None:
    settings = flatten_settings(settings_mapping(FineTuning()))
    assert "schedule.max_steps" in settings
    for key in settings:
        ended = run_here(*arguments("--check", settings=(f"{key}={number}",)))
        assert ended.returncode in (0, 1, 2), f"{key}\n{ended.stderr}"


def write_settings(project: Project, text: str) -> None:
    place = project.configs / "fine_tuning" / "quick_config.yaml"
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)


@pytest.mark.parametrize(
    "word", ["quick", "fine_tuning/quick", "fine_tuning/quick_config.yaml", "elsewhere.yaml"]
)
def test_settings_are_named_as_every_command_names_a_config(flowers: Project, word: str) -> None:
    write_settings(flowers, "base_model: tiny\nseed: 7\n")
    Path("elsewhere.yaml").write_text("base_model: tiny\nseed: 7\n")
    # Another kind has a config of the same name.
    other = flowers.configs / "performance_profiles" / "quick.yaml"
    other.parent.mkdir()
    other.write_text("description: Quick\n")
    words = ("fine-tune", "--check", "--dataset", "flowers", "--json")
    ended = run_here(*words, "--config", word)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["spec_names"]["base_model"] == "tiny"


def test_settings_that_are_not_there_are_named_with_the_nearest(flowers: Project) -> None:
    write_settings(flowers, "base_model: tiny\n")
    for word, near in (
        ("quik", "quick"),
        ("configs/fine_tuning/quick.yaml", "'fine_tuning/quick'"),
    ):
        ended = run_here("fine-tune", "--check", "--dataset", "flowers", "--config", word)
        refused(ended, 2, f"there is no config '{word}'", "did you mean", near)


def test_settings_that_cannot_be_read_are_not_said_to_be_missing(flowers: Project) -> None:
    write_settings(flowers, "seed: [\n")
    ended = run_here(
        "fine-tune", "--check", "--dataset", "flowers", "--config", "fine_tuning/quick"
    )
    refused(ended, 2, "quick_config.yaml:")


def test_a_foreign_organisation_is_not_blamed_on_the_rows(
    flowers: Project, write_jsonl: Write
) -> None:
    card = flowers.root / "datasets/flowers/DATASET.md"
    card.write_text("---\nname: flowers\norg: garden\n---\n\n# flowers\n")
    for more in ((), ("--check",), ("--dry-run",)):
        ended = run_here(*arguments("--org", "evil", *more))
        refused(ended, 2, "belongs to organisation 'garden'", "another organisation")
        assert "correct these" not in ended.stderr

        assert "correct the rows" not in ended.stderr


def test_a_nul_in_a_setting_is_refused(flowers: Project) -> None:
    ended = run_here("fine-tune", "--check", "--set", r'dataset="datasets/\0"')
    refused(ended, 2, "--set dataset=", "NUL")
