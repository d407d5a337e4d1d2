"""Settings of axolotl, LLaMA-Factory and TRL as fine-tuning configs: what each key becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from killed import interruptions
from modelyard.configs.checking.check import check_named
from modelyard.configs.imports.translate import Translation, translate
from modelyard.configs.imports.write import render_translation, write_translation
from modelyard.configs.reading.document import load_document, resolve
from modelyard.configs.reading.programs import program_of
from modelyard.configs.reading.shape import check_shape
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.settings.fields import flatten_settings
from modelyard.training.spec import load_spec

AXOLOTL = """\
base_model: Example/Tiny-Instruct
load_in_8bit: false
load_in_4bit: true
adapter: qlora
datasets:
  - path: example/chats
    type: chat_template
val_set_size: 0.05
output_dir: ./out
sequence_len: 2048
sample_packing: true
lora_r: 32
lora_alpha: 64
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
lora_modules_to_save: [embed_tokens]
wandb_project: chats
wandb_entity:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 2
optimizer: paged_adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
warmup_ratio: 0.1
evals_per_epoch: 0
save_total_limit: 3
neftune_noise_alpha: 5
seed: 7
bf16: auto
peft_use_dora: true
made_up_key: 1
"""
LLAMA_FACTORY = """\
model_name_or_path: Example/Tiny-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: q_proj,v_proj
use_rslora: true
quantization_bit: 8
dataset: identity,demo
template: chatml
cutoff_len: 512
max_samples: 1000
val_size: 200
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: constant
warmup_ratio: 0.1
bf16: true
save_steps: 500
logging_steps: 10
ddp_timeout: 180000000
"""
TRL = """\
model_name_or_path: Example/Tiny-Instruct
dataset_name: example/chats
use_peft: true
load_in_4bit: true
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
learning_rate: 2.0e-04
lr_scheduler_type: constant_with_warmup
max_length: 1024
max_steps: 200
warmup_steps: 20
num_train_epochs: 1
weight_decay: 0.01
max_grad_norm: 0.3
optim: adamw_torch_fused
packing: false
eval_strategy: steps
eval_steps: 50
report_to: [tensorboard]
"""
V1 = """\
model: Example/Tiny-Instruct
peft_config: {name: lora, r: 16, lora_alpha: 32, target_modules: all}
quant_config: {name: bnb, quantization_bit: 4}
train_dataset: data/rows.yaml
micro_batch_size: 1
global_batch_size: 64
cutoff_len: 2048
learning_rate: 1.0e-4
max_steps: 10
"""
CARD = """\
---
name: tiny
summary: For tests.
parameters: 1000
licence: Apache-2.0
context_length: 4096
upstream: Example/Tiny-Instruct
sources:
  - kind: path
    path: nowhere
---
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with one base, tiny, whose weights are Example/Tiny-Instruct."""
    project = Project(tmp_path / "project")
    (project.configs / "fine_tuning").mkdir(parents=True)
    card = project.base_card("tiny")
    card.parent.mkdir(parents=True)
    card.write_text(CARD)
    return project


def translated(project: Project, text: str, **options: Any) -> Translation:
    path = project.root / "theirs.yaml"
    path.write_text(text)
    return translate(path, project=project, **options)


def flat(found: Translation) -> dict[str, Any]:
    return flatten_settings(found.values)


def reasons(found: Translation) -> dict[str, str]:
    return {left.key: left.reason for left in found.left_out}


def test_axolotl_settings_are_carried_over_with_their_meaning(project: Project) -> None:
    found = translated(project, AXOLOTL)
    assert found.program == "axolotl"
    assert flat(found) == {
        "base_model": "tiny",
        "seed": 7,
        "neftune_alpha": 5,
        "lora.rank": 32,
        "lora.alpha": 64,
        "lora.dropout": 0.05,
        "lora.targets": ["q_proj", "v_proj"],
        "lora.dora": True,
        "data.max_length": 2048,
        "data.packing": True,
        "schedule.epochs": 2,
        "schedule.rows_per_step": 8,
        "schedule.learning_rate": 2e-4,
        "schedule.shape": "cosine",
        "schedule.warmup_share": 0.1,
        "compute.quantize": "4bit",
        "compute.optimizer": "adamw_8bit",
        "keep.checkpoints_kept": 3,
        "keep.evaluate_every_steps": "never",
    }
    assert set(reasons(found)) == {
        "datasets",
        "val_set_size",
        "lora_modules_to_save",
        "made_up_key",
    }
    assert {left.key for left in found.needless} == {"output_dir", "wandb_project"}
    assert "example/chats" in reasons(found)["datasets"]
    assert reasons(found)["val_set_size"].endswith("`models prepare-data --eval-share 0.05`")
    [rows] = [setting for setting in found.carried if setting.note]
    assert rows.to == "schedule.rows_per_step" and "packed sequence" in (rows.note or "")


def test_keys_of_each_data_set_are_named_unless_they_say_what_is_done_here(
    project: Project,
) -> None:
    entry = """\
  - path: data/my.jsonl
    type: completion
    roles_to_train: [user]
    split: train
    shards: 4
    made_up: 1
"""
    written = AXOLOTL.replace("  - path: example/chats\n    type: chat_template\n", entry)
    found = translated(project, written.replace("micro_batch_size: 2", "micro_batch_size: 0"))
    inside = {key: said for key, said in reasons(found).items() if key.startswith("datasets[")}
    assert set(inside) == {
        f"datasets[0].{part}" for part in ("type", "roles_to_train", "shards", "made_up")
    }
    assert "--text-column" in inside["datasets[0].type"]
    assert "is not on this machine" in reasons(found)["datasets"]
    (rows,) = [each for each in found.carried if each.to == "schedule.rows_per_step"]
    assert "micro_batch_size" not in rows.keys


def test_llama_factory_settings_are_carried_over_with_their_meaning(project: Project) -> None:
    found = translated(project, LLAMA_FACTORY)
    assert found.program == "LLaMA-Factory"
    assert flat(found) == {
        "base_model": "tiny",
        "lora.rank": 8,
        "lora.alpha": 16,  # twice the rank, when it is left out
        "lora.dropout": 0.0,
        "lora.targets": ["q_proj", "v_proj"],
        "lora.rslora": True,
        "data.max_length": 512,
        "schedule.epochs": 3,
        "schedule.rows_per_step": 8,
        "schedule.learning_rate": 1e-4,
        "schedule.shape": "constant",
        "schedule.warmup_share": 0.0,  # `constant` has no warm-up there
        "compute.precision": "bf16",
        "compute.quantize": "8bit",
        "keep.checkpoint_every_steps": 500,
        "keep.log_every_steps": 10,
    }
    said = [left.reason for left in found.left_out if left.key == "dataset"]
    assert [reason.split(" is ")[0] for reason in said] == ["'identity'", "'demo'"]
    assert "is a number of rows, 200" in reasons(found)["val_size"]
    assert {"template", "max_samples"} < reasons(found).keys()
    assert [left.key for left in found.needless] == ["ddp_timeout"]


def test_trl_settings_are_carried_over_with_their_meaning(project: Project) -> None:
    found = translated(project, TRL)
    assert found.program == "TRL"
    assert flat(found) == {
        "base_model": "tiny",
        "lora.rank": 16,  # ModelConfig's defaults
        "lora.alpha": 32,
        "lora.dropout": 0.05,
        "lora.targets": ["q_proj", "v_proj"],
        "data.max_length": 1024,
        "data.packing": False,
        "schedule.epochs": 1,
        "schedule.max_steps": 200,
        "schedule.rows_per_step": 8,
        "schedule.learning_rate": 2e-4,
        "schedule.shape": "constant",
        "schedule.warmup_share": 0.1,  # 20 of 200 steps
        "schedule.weight_decay": 0.01,
        "schedule.max_grad_norm": 0.3,
        "compute.quantize": "4bit",
        "compute.optimizer": "adamw",
        "keep.evaluate_every_steps": 50,
        "keep.tensorboard": True,
    }
    assert list(reasons(found)) == ["dataset_name"]


def test_a_file_of_llama_factory_version_1_is_translated_too(project: Project) -> None:
    values = flat(translated(project, V1))
    assert (values["lora.rank"], values["lora.targets"]) == (16, ["all-linear"])
    assert (values["schedule.rows_per_step"], values["schedule.max_steps"]) == (64, 10)
    assert (values["compute.quantize"], values["schedule.shape"]) == ("4bit", "constant")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("micro_batch_size: 4\n", 4),
        ("micro_batch_size: 2\ngradient_accumulation_steps: 8\n", 16),
        ("micro_batch_size: 2\nbatch_size: 16\n", 16),
        ("micro_batch_size: 2\nbatch_size: 16\ngradient_accumulation_steps: 2\n", 4),
        ("gradient_accumulation_steps: 3\n", 3),
    ],
)
def test_rows_of_a_step_are_those_of_all_batches_and_devices(
    project: Project, written: str, expected: int
) -> None:
    text = f"adapter: lora\nnum_epochs: 1\nsequence_len: 512\nlearning_rate: 1e-4\n{written}"
    assert flat(translated(project, text))["schedule.rows_per_step"] == expected
    found = translated(project, text, devices=4)
    assert flat(found)["schedule.rows_per_step"] == 4 * expected


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("warmup_ratio: 0.2", 0.2),
        ("warmup_steps: 0", 0.0),
        ("warmup_steps: 0.1", 0.1),
        ("warmup_steps: 10\nmax_steps: 50", 0.2),
        ("warmup_steps: 10\nwarmup_ratio: 0.5\nmax_steps: 50", 0.2),
        ("", 0.03),
        ("lr_scheduler: constant\nwarmup_ratio: 0.2", 0.0),
        ("lr_scheduler: constant_with_warmup\nwarmup_ratio: 0.2", 0.2),
    ],
)
def test_the_warm_up_is_a_share_of_the_steps(project: Project, written: str, share: float) -> None:
    text = f"adapter: lora\nmicro_batch_size: 1\nsequence_len: 512\nlearning_rate: 1\n{written}\n"
    assert flat(translated(project, text))["schedule.warmup_share"] == share


def test_warm_up_steps_of_an_unknown_number_of_steps_are_not_guessed(project: Project) -> None:
    text = "adapter: lora\nmicro_batch_size: 1\nsequence_len: 512\nlearning_rate: 1\n"
    found = translated(project, f"{text}warmup_steps: 10\n")
    assert "schedule.warmup_share" not in flat(found)
    assert "divide it by the steps" in reasons(found)["warmup_steps"]


@pytest.mark.parametrize(
    ("written", "key", "reason"),
    [
        ("lr_scheduler: rex", "lr_scheduler", "linear, cosine or constant"),
        ("optimizer: lion_8bit", "optimizer", "AdamW with 32 or 8 bits"),
        ("lora_r: 4096", "lora_r", "must be between 1 and 1024"),
        ("lora_r: many", "lora_r", "is not a number"),
        ("lora_target_modules: 'layers.[0-9]+.q_proj'", "lora_target_modules", "patterns"),
        ("eval_steps: 0.2", "eval_steps", "is a share of all steps there"),
        ("fp16: true", "fp16", "bf16 or fp32"),
        ("train_on_inputs: true", "train_on_inputs", "only answers are trained"),
        ("lora_model_dir: ./old", "lora_model_dir", "give --from"),
        ("unheard_of: {a: 1}", "unheard_of", "has no counterpart here"),
    ],
)
def test_what_has_no_counterpart_is_left_out_with_its_place_and_reason(
    project: Project, written: str, key: str, reason: str
) -> None:
    text = "adapter: lora\nmicro_batch_size: 1\nsequence_len: 512\nlearning_rate: 1e-4\n"
    found = translated(project, f"{text}{written}\n")
    [left] = found.left_out
    assert left.key == key and reason in left.reason
    assert left.where == f"{project.root / 'theirs.yaml'}:5:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence_len: 512\nnum_epochs: 1\n", "axolotl file trains all weights"),
        ("sequence_len: 512\nadapter: lora\nrl: dpo\nnum_epochs: 1\n", r"preferences .* \('rl'\)"),
        ("stage: dpo\nfinetuning_type: lora\n", "for stage dpo"),
        ("stage: sft\nfinetuning_type: oft\ndo_train: true\n", "trains by oft"),
        ("template: chatml\nadapter_name_or_path: x\n", "does not train"),
        ("model_name_or_path: a/b\ndataset_name: c/d\n", "TRL file trains all weights"),
        ("model_name_or_path: a/b\nuse_peft: true\nbeta: 0.1\n", r"preferences .* \('beta'\)"),
        ("lora: {rank: 8}\nsequence_len: 512\nnum_epochs: 1\n", "not recognised"),
        ("learning_rate: 1e-4\n", "not recognised"),
        ("[1, 2]\n", "not recognised"),
    ],
)
def test_what_trains_something_else_is_refused_with_the_reason(
    project: Project, text: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        translated(project, text)
    assert caught.value.hint and (caught.value.where or "").endswith(tuple("0123456789"))


def test_a_file_for_all_weights_becomes_an_adapter_when_that_is_wanted(project: Project) -> None:
    text = "model_name_or_path: a/b\nper_device_train_batch_size: 2\nlearning_rate: 1e-5\n"
    found = translated(project, text, as_lora=True)
    [rate] = [setting for setting in found.carried if setting.to == "schedule.learning_rate"]
    assert rate.value == 1e-5 and "ten times" in (rate.note or "")


def test_a_base_without_a_card_keeps_its_name_and_can_be_replaced(project: Project) -> None:
    other = AXOLOTL.replace("Example/Tiny-Instruct", "Example/Large")
    found = translated(project, other)
    assert (flat(found)["base_model"], found.base_is_known) == ("Example/Large", False)
    found = translated(project, other, base_model="tiny")
    assert (flat(found)["base_model"], found.base_is_known) == ("tiny", True)


@pytest.mark.parametrize("text", [AXOLOTL, LLAMA_FACTORY, TRL, V1])
def test_the_config_is_valid_and_a_run_can_begin_with_it(
    project: Project, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = translated(project, text)
    path = write_translation(project, Path("theirs.yaml"), "mine", render_translation(found))
    assert path == project.configs / "fine_tuning" / "mine.yaml"
    monkeypatch.chdir(project.root)
    report = check_named([str(path)])
    assert [str(problem) for problem in report.findings] == []
    spec = load_spec(config=path, assignments=[], flags={"dataset": "rows"}, project=project)
    assert spec.base_model == "tiny"
    written = resolve(load_document(path)).values
    assert written == found.values
    assert all(f"#   {left.key}: {left.reason}\n" in path.read_text() for left in found.left_out)


def test_a_config_that_exists_is_not_replaced(project: Project) -> None:
    text = render_translation(translated(project, TRL))
    path = write_translation(project, Path("My Run.v2.yaml"), None, text)
    assert path.name == "my-run.yaml"
    (project.configs / "fine_tuning" / "other.yaml").write_text("name: taken\n")
    for name in ("my-run", "other", "taken"):
        with pytest.raises(InvalidInput, match=f"there is a config fine_tuning/{name} already"):
            write_translation(project, Path("x.yaml"), name, "")
    with pytest.raises(InvalidInput, match="not a valid config name"):
        write_translation(project, Path("x.yaml"), "../out", "")


def test_cut_off_anywhere_there_is_no_config_or_the_whole_one(project: Project) -> None:
    text = render_translation(translated(project, AXOLOTL))
    place = project.configs / "fine_tuning" / "mine.yaml"

    def work() -> None:
        write_translation(project, Path("x.yaml"), "mine", text)

    for _ in interruptions(work, "kill"):
        assert not place.exists() or place.read_text() == text
        place.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        (AXOLOTL, "an axolotl config"),
        (LLAMA_FACTORY, "a LLaMA-Factory config"),
        (TRL, "a TRL config"),
    ],
)
def test_fine_tune_and_the_check_say_first_whose_config_it_is(
    project: Project, text: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.configs / "fine_tuning" / "theirs.yaml"
    path.write_text(text)
    with pytest.raises(ProblemsFound) as caught:
        load_spec(config=path, assignments=[], flags={"dataset": "rows"}, project=project)
    [problem] = caught.value.problems
    assert problem.message == f"this is {called}, and its keys mean nothing here"
    assert "`models config import " in (problem.hint or "")
    monkeypatch.chdir(project.root)
    assert [found.code for found in check_named([]).findings] == ["other-program"]


def test_no_config_of_this_program_is_taken_for_another() -> None:
    for path in (Path(__file__).parents[2] / "configs" / "fine_tuning").glob("*.yaml"):
        assert program_of(yaml.safe_load(path.read_text())) is None
    assert program_of({"dataset": "x", "base_model": "y", "learning_rate": 1, "epochs": 2}) is None


def test_a_secret_in_a_file_is_not_shown(project: Project) -> None:
    token = "hf_" + "aB3" * 12
    address = f"https://user:{token}@example.org/rows.jsonl"
    text = AXOLOTL.replace("example/chats", address) + f"hub_token: {token}\n"
    found = translated(project, text)
    assert "hub_token" in {left.key for left in found.needless}
    assert token not in render_translation(found)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "1e-4", "all", "no", "cosine", "a/b", "a: b\n#", "\x1b[2J", "é\u202e"]),
    st.lists(st.sampled_from(["q_proj", "../x", 3, None]), max_size=2),
    st.dictionaries(st.sampled_from(["path", "name", "r"]), st.integers(), max_size=2),
)
HEADS = {
    AXOLOTL: {"adapter": "lora", "num_epochs": None, "sequence_len": 512},
    LLAMA_FACTORY: {"stage": "sft", "finetuning_type": "lora", "do_train": True},
    TRL: {"use_peft": True, "report_to": "none"},
}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """A file of one of the programs, with its keys and any values."""
    text = draw(st.sampled_from(list(HEADS)))
    keys = st.sampled_from(sorted(yaml.safe_load(text)))
    return draw(st.dictionaries(keys, VALUES, max_size=8)) | HEADS[text]


@settings(database=None, derandomize=True, max_examples=150, deadline=None)
@given(values=files())
def test_whatever_a_file_holds_its_translation_is_a_valid_config(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    place = tmp_path_factory.mktemp("theirs") / "theirs.yaml"
    place.write_text(yaml.safe_dump(values, allow_unicode=True))
    found = translate(place, project=Project(place.parent))
    place.write_text(render_translation(found))
    document = load_document(place, kind="fine_tuning")
    assert not check_shape(document).problems
    assert resolve(document).values == found.values
