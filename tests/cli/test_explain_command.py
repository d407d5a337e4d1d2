"""`models config explain`: what a setting is, and which line gave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_validate_config_command import MODEL, PLACE, Models, project, write

from modelyard.configs.explain import explain
from modelyard.configs.fields import settings_of
from modelyard.configs.kinds import KINDS, STANDARD_ENVIRONMENTS
from modelyard.configs.reading.document import load_document
from modelyard.core.errors import InvalidInput, ProblemsFound

__all__ = ["project"]  # the fixture

LAYERED = (
    MODEL.format(fallback="end")
    + """\
retries: &patient
  attempts: 5
environments:
  test:
    retries:
      <<: *patient
      first_wait: 2 seconds
  production:
    timeout: 90 seconds
    generation:
      stop: [END, STOP]
"""
)


@pytest.fixture(autouse=True)
def config(project: Path) -> Path:
    return write(project / PLACE / "good.yaml", LAYERED)


def explained(
    models: Models, capsys: pytest.CaptureFixture[str], *words: str
) -> list[dict[str, Any]]:
    assert models("config", "explain", *words, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"file", "kind", "name", "environment", "revision", "settings"}
    settings: list[dict[str, Any]] = facts["settings"]
    return settings


def test_a_value_comes_with_its_line_and_what_the_program_gets(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = explained(models, capsys, "timeout", "good", "--env", "production", "--draft")
    assert found == {
        "key": "timeout",
        "attribute": "timeout_s",
        "value": "90 seconds",
        "parsed": 90.0,
        "layer": "production",
        "where": f"{PLACE}/good.yaml:15:5",
        "layers": [
            {"name": "default", "value": "1 min", "where": None, "revision": None, "key": None},
            {
                "name": "production",
                "value": "90 seconds",
                "where": f"{PLACE}/good.yaml:15:5",
                "revision": None,
                "key": None,
            },
        ],
        "may_be": "a duration such as '5 seconds', between 10 ms and 1 h",
        "meaning": "The time for one call.",
        "unread": None,
        "revision": None,
    }


def test_without_an_environment_the_default_effective_and_overlays_are_shown(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = explained(models, capsys, "timeout", "good", "--draft")
    assert (found["value"], found["layer"], found["where"]) == ("1 min", "default", None)
    assert [layer["name"] for layer in found["layers"]] == ["default", "production"]


def test_a_merged_value_is_found_where_it_is_written(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = explained(models, capsys, "retries.attempts", "good", "--env", "test", "--draft")
    assert (found["value"], found["where"]) == (5, f"{PLACE}/good.yaml:8:3")


def test_a_group_shows_every_setting_below_it(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explained(models, capsys, "retries", "good", "--env", "test", "--draft")
    assert [(setting["key"], setting["value"], setting["layer"]) for setting in found] == [
        ("retries.attempts", 5, "test"),
        ("retries.first_wait", "2 seconds", "test"),
        ("retries.longest_wait", "20 s", "default"),
    ]


def test_people_see_value_place_words_and_layers(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("config", "explain", "timeout", "good", "--env", "production", "--draft") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("timeout: 90 seconds\n")
    assert "timeout_s = 90.0" in printed and "The time for one call." in printed
    effective = [line for line in printed.splitlines() if line.rstrip().endswith("effective")]
    assert len(effective) == 1 and "production" in effective[0] and "good.yaml:15:5" in effective[0]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("timout", "timeout"),
        ("attempts", "retries.attempts"),
        ("retries.atempts", "retries.attempts"),
    ],
)
def test_an_unknown_key_suggests_the_right_one(
    models: Models, capsys: pytest.CaptureFixture[str], key: str, near: str
) -> None:
    assert models("config", "explain", key, "good") == 2
    assert f"(did you mean '{near}'?)" in capsys.readouterr().err


def test_a_config_that_is_not_valid_is_not_explained(
    models: Models, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    config.write_text(LAYERED + "timout: 5 seconds\n")
    assert models("config", "explain", "timeout", "good") == 2
    assert f"{PLACE}/good.yaml:18:1: unknown key 'timout'" in capsys.readouterr().err


def test_a_setting_of_a_group_that_is_left_out_is_not_set(config: Path) -> None:
    document = load_document(config)
    (found,) = explain(document, "prices.input_per_million", None)
    assert (found.value, found.layer, found.layers) == (None, None, ())
    (group,) = explain(document, "prices", None)
    assert group.value is None


def test_an_item_of_a_replaced_list_comes_from_the_overlay_alone(project: Path) -> None:
    rule = "{{domains: [], longer_than_tokens: {}, model: {}}}"
    rules = "    routing: {{rules: [{}]}}\n"
    path = write(
        project / "configs" / "integration.yaml",
        "model_integration:\n  primary_models: {language: end}\n"
        + rules.format(rule.format("1k", "end"))[2:]
        + "environments:\n  test:\n    model_integration:\n"
        + "  "
        + rules.format(rule.format("2k", "end")),
    )
    (found,) = explain(
        load_document(path), "model_integration.routing.rules[0].longer_than_tokens", "test"
    )
    assert [layer.name for layer in found.layers] == ["default", "test"]
    assert found.parsed == 2000


def test_a_name_with_dots_is_a_key_like_any_other(project: Path) -> None:
    text = (
        "description: d\nencoder:\n  {source: wheel, model: all-minilm-l6-v2, dimensions: 384, "
        "max_tokens: 256}\ndomains:\n  my.docs: {description: d, sources: [x]}\n"
    )
    path = write(project / "configs" / "embedding_models" / "group.yaml", text)
    (found,) = explain(load_document(path), "domains.my.docs.description", None)
    assert found.value == "d"
    with pytest.raises(InvalidInput):
        explain(load_document(path), "domains.my.docs.descriptio", None)


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_setting_of_every_config_of_the_repository_is_explained(path: Path) -> None:
    document, lines = load_document(path), path.read_text().splitlines()
    keys = {setting.key.partition(".")[0].partition("[")[0] for setting in all_settings(document)}
    for environment in (None, *STANDARD_ENVIRONMENTS):
        for found in (found for key in keys for found in explain(document, key, environment)):
            assert found.meaning and found.may_be
            assert (found.where is None) == (found.layer in (None, "default"))
            if found.where:
                written = lines[int(found.where.rsplit(":", 2)[1]) - 1]
                assert found.key.rsplit(".", 1)[-1].partition("[")[0] in written


def all_settings(document: Any) -> Any:
    return settings_of(KINDS[document.kind.name].settings_class)


def test_explain_refuses_what_only_an_environment_breaks(config: Path) -> None:
    config.write_text(LAYERED.replace("90 seconds", "90"))
    document = load_document(config)
    assert explain(document, "timeout", "test")[0].layer == "default"
    with pytest.raises(ProblemsFound):
        explain(document, "timeout", "production")


@pytest.mark.parametrize("key", ["name", "environments", "environments.test.timeout"])
def test_what_is_no_setting_is_said_to_be_none(
    models: Models, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    assert models("config", "explain", key, "good") == 2
    assert f"'{key}' is no setting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "there"),
    [
        ("domains.NAME.sources", "there are domains.docs.sources, domains.my.code.sources"),
        ("domains.missing.sources", "there are domains.docs.sources, domains.my.code.sources"),
        ("domains.missing", "there are domains.docs, domains.my.code"),
    ],
)
def test_a_key_of_a_right_form_lists_those_that_are_there(
    project: Path, key: str, there: str
) -> None:
    text = (
        "description: d\nencoder:\n  {source: wheel, model: all-minilm-l6-v2, dimensions: 384, "
        "max_tokens: 256}\ndomains:\n  docs: {description: d, sources: [x]}\n"
        "  my.code: {description: d, sources: [x]}\n"
    )
    path = write(project / "configs" / "embedding_models" / "group.yaml", text)
    with pytest.raises(InvalidInput) as caught:
        explain(load_document(path), key, None)
    assert there in caught.value.message


@pytest.mark.parametrize("item", ["[]", "[99]"])
def test_an_item_that_is_not_there_lists_those_that_are(project: Path, item: str) -> None:
    text = (
        "model_integration:\n  primary_models: {language: end}\n"
        "  routing: {rules: [{domains: [], longer_than_tokens: 1k, model: end}]}\n"
    )
    path = write(project / "configs" / "integration.yaml", text)
    with pytest.raises(InvalidInput, match=r"there are model_integration.routing.rules\[0\].model"):
        explain(load_document(path), f"model_integration.routing.rules{item}.model", None)
