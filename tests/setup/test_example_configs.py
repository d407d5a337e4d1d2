"""The configs that come with a project are valid, and the first lists the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.training.spec import load_spec

CONFIGS = Path(__file__).parents[2] / "configs" / "fine_tuning"
FLAGS = {"dataset": "example"}


def test_lora_default_is_the_defaults_written_out() -> None:
    written = load_spec(config=CONFIGS / "lora_default.yaml", assignments=[], flags=FLAGS)
    assert written == load_spec(config=None, assignments=[], flags=FLAGS)


def test_lora_default_leaves_no_setting_out() -> None:
    from modelyard.settings.fields import settings_mapping
    from modelyard.settings.yaml_files import load_yaml

    spec = load_spec(config=None, assignments=[], flags=FLAGS)
    named_by_flags = {"dataset", "adapter", "experiment", "org", "parent"}
    written = load_yaml(CONFIGS / "lora_default.yaml").value
    everything = settings_mapping(spec)
    assert set(written) - {"environments"} == set(everything) - named_by_flags
    for group, settings in everything.items():
        if isinstance(settings, dict):
            assert set(written[group]) == set(settings), group


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda config: config.name)
def test_every_config_is_valid(config: Path) -> None:
    assert load_spec(config=config, assignments=[], flags=FLAGS).dataset == "example"


def test_qlora_asks_for_4_bits() -> None:
    spec = load_spec(config=CONFIGS / "qlora.yaml", assignments=[], flags=FLAGS)
    assert (spec.compute.quantize, spec.base_model) == ("4bit", "qwen-3b-instruct")
