from __future__ import annotations

from pathlib import Path

import pytest

from deploy_samples import deploy_config
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.revisions import NotDeployed
from modelyard.settings.fields import settings_mapping
from modelyard.training.spec import FineTuneSpec, load_spec


def spec(*assignments: str, config: Path | None = None, **flags: object) -> FineTuneSpec:
    return load_spec(config=config, assignments=assignments, flags={"dataset": "shop", **flags})


def problems(*assignments: str, config: Path | None = None) -> list[str]:
    with pytest.raises(ProblemsFound) as caught:
        spec(*assignments, config=config)
    return [str(problem) for problem in caught.value.problems]


def test_names_follow_from_the_dataset() -> None:
    made = spec()
    assert (made.adapter, made.experiment) == ("shop", "shop")
    assert spec(adapter="till").experiment == "till"


def test_flags_win_over_assignments_and_those_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("seed: 1\nlora: {rank: 4, alpha: 8}\n")
    made = spec("lora.rank=5", "seed=2", config=config, seed=3)
    assert (made.seed, made.lora.rank, made.lora.alpha) == (3, 5, 8.0)


def test_an_unknown_key_is_named_with_a_suggestion() -> None:
    assert problems("lora.rnak=8") == [
        "--set lora.rnak=8: unknown key 'lora.rnak' (did you mean 'lora.rank'?)"
    ]


def test_an_unknown_key_of_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("lora:\n  rank: 4\n  alpah: 3\n")
    (found,) = problems(config=config)
    assert found == f"{config}:3:3: unknown key 'lora.alpah' (did you mean 'lora.alpha'?)"


def test_rank_zero_is_refused() -> None:
    assert problems("lora.rank=0") == [
        "--set lora.rank=0: 'lora.rank' must be between 1 and 1024, not 0"
    ]


def test_all_problems_are_reported_together() -> None:
    assert len(problems("lora.rank=0", "seed=x", "what", "lora.dropout=2")) == 4


def test_numbers_may_be_written_with_an_exponent() -> None:
    assert spec("schedule.learning_rate=5e-4").schedule.learning_rate == 5e-4


def test_a_dataset_name_with_dots_is_no_adapter_name() -> None:
    with pytest.raises(InvalidInput, match="not a valid adapter name"):
        spec(adapter="../x")


def test_a_saved_spec_is_read_back_as_itself(tmp_path: Path) -> None:
    import yaml

    made = spec("lora.targets=[q_proj, v_proj]", "schedule.max_steps=7")
    config = tmp_path / "spec.yaml"
    config.write_text(yaml.safe_dump(settings_mapping(made)))
    assert load_spec(config=config, assignments=[], flags={}) == made


def test_a_config_says_otherwise_in_another_environment(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "lora: {rank: 8, alpha: 16}\nenvironments:\n  test:\n    lora: {rank: 2}\n"
        "    schedule: {max_steps: 5}\n"
    )

    def spec_in(environment: str) -> FineTuneSpec:
        flags = {"dataset": "d"}
        return load_spec(config=config, assignments=[], flags=flags, environment=environment)

    assert spec_in("development").lora.rank == 8
    assert (spec_in("test").lora.rank, spec_in("test").lora.alpha) == (2, 16)
    assert (spec_in("test").schedule.max_steps, spec_in("production").schedule.max_steps) == (
        5,
        None,
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("data.max_length=010", "octal"),
        ("data.max_length=1:30", "base-60"),
        ("data.max_length=0o17", "0o17"),
        ("compute.fast_path=no", "false"),
    ],
)
def test_set_refuses_what_a_file_refuses(assignment: str, message: str) -> None:
    (found,) = problems(assignment)
    assert found.startswith(f"--set {assignment}: ")
    assert message in found


def test_set_reads_lists_and_whole_numbers_as_a_file_does() -> None:
    made = spec("lora.targets=[q_proj, v_proj]", "data.max_length=1_024")
    assert made.lora.targets == ("q_proj", "v_proj")
    assert made.data.max_length == 1024


def test_a_draft_trains_with_what_was_deployed_of_it(project: Project) -> None:
    draft = project.configs / "fine_tuning" / "small.yaml"
    draft.parent.mkdir()
    draft.write_text("base_model: tiny\nlora: {rank: 4}\n")
    with pytest.raises(NotDeployed, match="nothing is deployed to test"):
        load_spec(config=draft, assignments=[], flags={"dataset": "shop"}, environment="test")
    deploy_config(project, ["small"], environment="test")
    draft.write_text("base_model: tiny\nlora: {rank: 16}\n")

    def rank(environment: str) -> int:
        flags = {"dataset": "shop"}
        made = load_spec(config=draft, assignments=[], flags=flags, environment=environment)
        return made.lora.rank

    assert (rank("test"), rank("development")) == (4, 16)
    other = draft.with_name("other.yaml")
    other.write_text("base_model: tiny\n")
    with pytest.raises(InvalidInput, match="fine_tuning/other is not deployed to test"):
        load_spec(config=other, assignments=[], flags={"dataset": "shop"}, environment="test")
