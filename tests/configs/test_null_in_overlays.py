"""`null` in an overlay resets a key or a group to its default, at any depth."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from modelyard.configs.checking.check import check_configs
from modelyard.configs.explain import explain
from modelyard.configs.kinds.language_models import LanguageModel, Retries
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, resolve
from modelyard.configs.reading.shape import check_shape
from modelyard.configs.schema import load_schema
from modelyard.core.layout import Project

MODEL = """\
description: A model behind an endpoint
provider: openai_compatible
endpoint: http://localhost:8000/v1
model: llama3
context_tokens: 8k
max_output_tokens: 1k
prices: {input_per_million: $1, output_per_million: $1}
timeout: 5 seconds
retries: {attempts: 7, first_wait: 2 seconds}
environments:
  production:
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs" / "language_models").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    return Project(tmp_path)


def write(project: Project, overlay: str) -> Document:
    path = project.configs / "language_models" / "own.yaml"
    path.write_text(MODEL + f"    {overlay}\n")
    document = ConfigCatalogue(project).read(path)
    jsonschema.Draft7Validator(load_schema("language_models")).validate(document.source.value)
    return document


def in_production(document: Document) -> LanguageModel:
    shaped = check_shape(document)
    assert shaped.problems == ()
    assert shaped.settings["test"].retries.attempts == 7
    model: LanguageModel = shaped.settings["production"]
    return model


def test_a_key_has_its_default(project: Project) -> None:
    assert in_production(write(project, "timeout: null")).timeout_s == 60


def test_a_key_in_a_group_has_its_default_and_its_neighbour_stays(project: Project) -> None:
    model = in_production(write(project, "retries: {attempts: null}"))
    assert (model.retries.attempts, model.retries.first_wait_s) == (2, 2.0)


def test_a_group_has_its_defaults(project: Project) -> None:
    assert in_production(write(project, "retries: ~")).retries == Retries()
    assert in_production(write(project, "prices:")).prices is None


def test_a_key_of_a_group_that_the_base_lacks(project: Project) -> None:
    model = in_production(write(project, "generation: {temperature: null, seed: 3}"))
    assert (model.generation.temperature, model.generation.seed) == (None, 3)


def test_what_is_deployed_lacks_the_key(project: Project) -> None:
    values = resolve(write(project, "retries: {attempts: null}"), "production").values
    assert values["retries"] == {"first_wait": "2 seconds"}


@pytest.mark.parametrize("overlay", ["model: null", "prices: {input_per_million: null}"])
def test_a_required_key_cannot_be_taken_away(project: Project, overlay: str) -> None:
    document = write(project, overlay)
    report = check_configs(ConfigCatalogue(project), [document.path])
    [finding] = report.findings
    assert finding.code == "missing"
    assert "is required" in finding.message


def test_explain_names_the_line_that_resets(project: Project) -> None:
    document = write(project, "retries: null")
    [setting] = explain(document, "retries.attempts", "production")
    assert (setting.value, setting.layer) == (2, "production")
    assert setting.where == "configs/language_models/own.yaml:12:5"


def test_null_in_a_json_schema_is_a_value(project: Project) -> None:
    path = project.configs / "specialized_models" / "own.yaml"
    path.parent.mkdir()
    path.write_text(
        "description: x\nmodel: x\nprofile: x\ninstructions: x\n"
        "output: {format: json, json_schema: {type: object}}\n"
        "environments:\n  test:\n    output: {json_schema: {const: null}}\n"
    )
    values = resolve(ConfigCatalogue(project).read(path), "test").values
    assert values["output"]["json_schema"] == {"type": "object", "const": None}


@pytest.mark.parametrize("reset", ["api_key: null", "prices: null"])
def test_what_a_reset_leaves_out_is_said_where_it_is_reset(project: Project, reset: str) -> None:
    path = project.configs / "language_models" / "own.yaml"
    hosted = MODEL.replace("openai_compatible", "openai").replace(
        "timeout:", "api_key: env:K\ntimeout:"
    )
    path.write_text(f"{hosted}    {reset}\n")
    [finding] = check_configs(ConfigCatalogue(project), [path]).findings
    assert finding.where == "configs/language_models/own.yaml:13:5"
    assert finding.message.endswith("(in production)")
