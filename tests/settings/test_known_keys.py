"""The key that was meant by one that there is not, for every kind of config."""

from __future__ import annotations

import pytest

from modelyard.configs.kinds import KINDS
from modelyard.settings.build import build_settings
from modelyard.settings.known_keys import known_keys, meant_key, meant_path, split_key

MEANT = {
    "language_models": {
        "temperature": "generation.temperature",
        "temprature": "generation.temperature",
        "generation.temprature": "generation.temperature",
        "input_per_million": "prices.input_per_million",
        "fine_tuning.input_per_million": "fine_tuning.prices.input_per_million",
        "retry.first_wait": "retries.first_wait",
        "generatoin": "generation",
        "maxOutputTokens": "max_output_tokens",
        "base_url": "endpoint",
        "max_new_tokens": "max_output_tokens",
        "password": None,
        "banana": None,
    },
    "integration": {
        "budgets": "model_integration.budgets",
        "alert_thresholds.window": "model_integration.performance_monitoring.window",
        "model_integration.budgets.perday": "model_integration.budgets.per_day",
    },
    "embedding_models": {
        "sources": "domains.NAME.sources",
        "domains.docs.sorces": "domains.docs.sources",
        "model": "encoder.model",
    },
    "test_suites": {
        "rows": "checks[].rows",
        "checks[2].rosw": "checks[2].rows",
        "checks[0].question": "checks[0].cases[].question",
        "latency_p95": "thresholds.latency_p95",
    },
    "fine_tuning": {
        "lr": "schedule.learning_rate",
        "lora.lora_alpha": "lora.alpha",
        "r": "lora.rank",
        "lora.b": None,
    },
}


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [(kind, key, meant) for kind, keys in MEANT.items() for key, meant in keys.items()],
)
def test_the_key_that_was_meant_has_its_whole_path(kind: str, key: str, meant: str | None) -> None:
    assert meant_key(KINDS[kind].settings_class, split_key(key)) == meant


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_without_its_groups_leads_to_one_of_its_name(kind: str) -> None:
    settings = KINDS[kind].settings_class
    for key in known_keys(settings):
        meant = meant_key(settings, (key[-1],))
        assert meant is not None
        assert split_key(meant)[-1] == key[-1]


def test_a_path_that_says_not_which_item_names_no_place() -> None:
    assert meant_path(KINDS["embedding_models"].settings_class, ("sources",)) is None
    assert meant_path(KINDS["language_models"].settings_class, ("seed",)) == ("generation", "seed")


def test_an_empty_key_means_nothing() -> None:
    assert meant_key(KINDS["language_models"].settings_class, ("",)) is None


def test_a_key_with_dots_in_it_is_shown_as_groups() -> None:
    _, problems = build_settings(
        KINDS["performance_profiles"].settings_class,
        {"description": "x", "generation.temperature": 0.2},
        lambda path: None,
    )
    [problem] = problems
    assert problem.message.startswith("unknown key 'generation.temperature': a dot")
    assert problem.hint == "write `generation:`, and indented below it `temperature:`"
