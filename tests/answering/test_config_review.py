"""`models config review`: what is unused, mispriced or never asked, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy_samples import edit, write_deploy_project
from modelyard.answering.config_review import ConfigReview, review_configs
from modelyard.core.layout import Project
from modelyard.deployments.revisions import NotDeployed
from modelyard.records.spool import Recorder
from modelyard.setup.init import init_project
from traffic_samples import numbered

DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 12, 1, 9, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return write_deploy_project(tmp_path / "project")


def review(project: Project, **changed: int) -> ConfigReview:
    settings = {"days": 30, "most_days_of_prices": 36_500, "now_ms": NOW_MS} | changed
    return review_configs(project, "development", **settings)


def named(found: ConfigReview, topic: str) -> set[str]:
    return {finding.config for finding in found.findings if finding.topic == topic}


def answer(project: Project, *, days_ago: float, **values: object) -> None:
    recorder = Recorder(project)
    at_ms = NOW_MS - int(days_ago * DAY_MS)
    facts = {"environment": "development", "answered_at_ms": at_ms, **values}
    recorder.record(numbered(int(days_ago * 1000), **facts))
    recorder.close()


def test_what_no_request_can_lead_to_is_unused(project: Project) -> None:
    assert named(review(project), "unused") == {"performance_profiles/high_accuracy"}
    edit(project, "specialized_models/summarization", "model: claude", "model: gpt4")
    edit(project, "integration", "order: [claude, basic_nlp]", "order: [basic_nlp]")
    edit(project, "specialized_models/code_analysis", "[docs/handbook]", "[other/notes]")
    other = (project.configs / "embedding_models" / "docs.yaml").read_text()
    (project.configs / "embedding_models" / "other.yaml").write_text(
        other.replace("handbook:", "notes:")
    )
    assert named(review(project), "unused") == {
        "performance_profiles/high_accuracy",
        "language_models/claude",
        "embedding_models/docs",
    }
    edit(project, "specialized_models/code_analysis", "[other/notes]", "[handbook, notes]")
    assert "embedding_models/docs" not in named(review(project), "unused")
    (project.configs / "embedding_models" / "all.yaml").write_text(
        "description: All\nsearch:\n  groups: [docs]\n"
    )
    edit(project, "specialized_models/code_analysis", "[handbook, notes]", "[notes]")
    assert "embedding_models/docs" not in named(review(project), "unused")


def test_prices_of_models_in_use_are_compared_with_the_list(tmp_path: Path) -> None:
    init_project(tmp_path / "new")
    project = Project(tmp_path / "new")
    assert named(review(project), "price") == set()
    gpt4 = project.configs / "language_models" / "gpt4_config.yaml"
    gpt4.write_text(gpt4.read_text().replace("input_per_million: $", "input_per_million: $1"))
    (found,) = [one for one in review(project).findings if one.topic == "price"]
    assert (found.config, found.said) == (
        "language_models/gpt4",
        "its prices are not those of the list",
    )
    gpt4.write_text(gpt4.read_text().replace("input_per_million: $1", "input_per_million: $"))
    (found,) = [
        one for one in review(project, most_days_of_prices=0).findings if one.topic == "price"
    ]
    assert "too old to say" in found.said


def test_models_and_domains_without_an_answer_are_named(project: Project) -> None:
    answer(project, days_ago=1, domain="code_analysis", language_model="gpt4", model="model:gpt4")
    answer(project, days_ago=40, domain="summaries", language_model="claude", model="model:claude")
    answer(project, days_ago=2, domain="summarization", language_model="claude", outcome="failed")
    found = review(project)
    assert found.answers == 1
    assert named(found, "never answered") == {
        "language_models/claude",  # what failed is no answer, and 40 days are too long ago
        "language_models/basic_nlp",
    }
    said = {finding.said for finding in found.findings if finding.topic == "never asked"}
    assert said == {"nobody asked the domain summaries in 30 days"}
    longer = review(project, days=60)
    assert named(longer, "never answered") == {"language_models/basic_nlp"}
    assert named(longer, "never asked") == set()


def test_without_records_it_is_not_known_what_was_never_asked(project: Project) -> None:
    found = review(project)
    assert found.answers == 0
    assert {finding.topic for finding in found.findings} == {"unused", "price"}


def test_an_environment_without_a_deployment_is_refused(project: Project) -> None:
    with pytest.raises(NotDeployed):
        review_configs(project, "test", days=30, most_days_of_prices=90, now_ms=NOW_MS)
