"""Other spellings of settings that people write, and what is deployed of them."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from example_configs import make_project
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import resolve
from modelyard.configs.schema import load_schema
from modelyard.core.errors import ProblemsFound
from modelyard.core.layout import Project
from modelyard.deployments.plan import Request
from modelyard.deployments.propose import propose

SEED = """\
# Model integration configuration
model_integration:
  primary_models:
    language: "gpt-4"
    code_analysis: "custom/code_reviewer"
    embeddings: "text_embeddings/knowledge_base"

  fallback_strategy:
    enabled: true
    fallback_order: ["claude", "local_llm", "basic_nlp"]
    failure_threshold: 3

  performance_monitoring:
    enabled: true
    metrics: ["latency", "accuracy", "cost_per_request"]
    alert_thresholds:
      latency: "5 seconds"
      accuracy: "85%"
      cost_per_request: "$0.10"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("spellings") / "project")


def write(project: Project, text: str) -> Path:
    path = project.configs / "integration.yaml"
    path.write_text(text)
    return path


def check(project: Project, text: str) -> CheckReport:
    return check_configs(ConfigCatalogue(project), [write(project, text)], strict=True)


def values(project: Project, environment: str | None = None) -> dict[str, object]:
    catalogue = ConfigCatalogue(project)
    read = resolve(catalogue.read(catalogue.paths("integration")[0]), environment).values
    return dict(read["model_integration"])


def test_the_block_of_the_first_description_is_valid_word_for_word(project: Project) -> None:
    [finding] = check(project, SEED).findings
    assert (finding.level, finding.code) == ("warning", "not-there-yet")
    assert finding.where == "configs/integration.yaml:5:5"
    assert "custom model 'code_reviewer'" in finding.message


def test_what_is_read_of_it_has_the_own_keys_and_names(project: Project) -> None:
    write(project, SEED)
    read = values(project)
    assert read["primary_models"] == {
        "language": "gpt4",
        "embeddings": "text_embeddings/knowledge_base",
        "tasks": {"code_analysis": "custom/code_reviewer"},
    }
    assert read["fallback_strategy"] == {
        "enabled": True,
        "failure_threshold": 3,
        "order": ["claude", "local_llm", "basic_nlp"],
    }


def test_the_published_schema_takes_it_too() -> None:
    import yaml

    jsonschema.Draft7Validator(load_schema("integration")).validate(yaml.safe_load(SEED))


def test_a_custom_model_that_is_not_there_is_refused_when_deployed(project: Project) -> None:
    write(project, SEED)
    with pytest.raises(ProblemsFound) as refused:
        propose(project, Request(action="deploy", configs=("integration",)), "test")
    assert "which is not there yet" in str(refused.value.problems[0])


def test_an_overlay_may_use_another_spelling_than_the_base(project: Project) -> None:
    text = SEED.replace("custom/code_reviewer", "code_analysis")
    text += (
        "environments:\n  test:\n    model_integration:\n      fallback_strategy:\n"
        "        order: [local_llm, basic_nlp]\n      primary_models:\n"
        "        tasks: {code_analysis: summarization}\n        language: gpt-4\n"
    )
    report = check(project, text)
    assert [finding.code for finding in report.findings] == ["same-as-base"]  # language
    read = values(project, "test")
    assert read["fallback_strategy"]["order"] == ["local_llm", "basic_nlp"]  # type: ignore[index]
    assert read["primary_models"]["tasks"] == {  # type: ignore[index]
        "code_analysis": "summarization"
    }


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ('"claude", ', '"claud", ', "10:22", "order[0]' names the language model 'claud'"),
        ('"custom/code_reviewer"', "nobody", "5:5", "tasks.code_analysis' names"),
        ("embeddings:", "embedings:", "6:5", "did you mean 'model_integration.primary_models.emb"),
        (
            "    enabled: true\n    fallback",
            "    order: []\n    fallback",
            "10:5",
            "both are written",
        ),
    ],
)
def test_a_mistake_in_another_spelling_is_found_at_its_place(
    project: Project, old: str, new: str, place: str, says: str
) -> None:
    report = check(project, SEED.replace(old, new, 1))
    found = [f"{finding.where} {finding.message}" for finding in report.findings]
    assert any(f"integration.yaml:{place} " in line and says in line for line in found), found
    assert not report.valid


def test_an_alias_names_its_model_wherever_a_model_is_named(project: Project) -> None:
    write(project, SEED.replace("custom/code_reviewer", "code_analysis"))
    path = project.configs / "specialized_models" / "reviews.yaml"
    path.write_text(
        "description: Reviews\nmodel: gpt-4\nprofile: balanced\ninstructions: Review it.\n"
        "fallback: [claude, gpt-4, basic_nlp]\n"
    )
    try:
        catalogue = ConfigCatalogue(project)
        report = check_configs(catalogue, [path])
        assert [finding.message for finding in report.findings] == []
        read = resolve(catalogue.read(path)).values
        assert (read["model"], read["fallback"]) == ("gpt4", ["claude", "gpt4", "basic_nlp"])
    finally:
        path.unlink()
