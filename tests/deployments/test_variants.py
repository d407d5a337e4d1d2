"""What a variant of an A/B test changes is what the configs would say with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_effective import snapshot

from deploy_samples import deploy_config, edit, write_deploy_project
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import Effective
from modelyard.deployments.layers import build_effective
from modelyard.deployments.models_in_use import models_in_use
from modelyard.deployments.snapshot import Snapshot, content_of

OF_CODE = {"name": "trial", "domains": ["code_analysis"]}


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return write_deploy_project(tmp_path / "project")


def with_test(test: Mapping[str, Any], **profiles: str) -> Snapshot:
    below = snapshot(**profiles)
    values = below.configs["integration"].values
    values["model_integration"]["ab_test"] = test
    return replace(below, configs={**below.configs, "integration": content_of(values)})


def built(of: Snapshot, domain: str | None = "code_analysis", **more: Any) -> Effective:
    return build_effective(of, "test", 1, domain, **more)


def findings(project: Project, test: str) -> list[str]:
    edit(project, "integration", "  budgets:\n", f"{test}  budgets:\n")
    catalogue = ConfigCatalogue(project)
    report = check_configs(catalogue, catalogue.paths(), environments=("development",))
    return [f"{finding.level}: {finding.message}" for finding in report.findings]


def test_a_variant_is_what_the_configs_would_say_with_it() -> None:
    changed = {"specialized_models/code_analysis": {"model": "claude", "profile": "high_accuracy"}}
    expected = built(snapshot(changed))
    test = with_test({**OF_CODE, "a": {}, "b": {"model": "claude", "profile": "high_accuracy"}})
    found = built(test).ab_test
    assert found is not None
    assert found.b == replace(expected, variant="trial/b")
    assert found.a == replace(built(snapshot()), variant="trial/a")
    assert (found.name, found.share_of_b) == ("trial", 0.5)


def test_who_is_in_no_side_gets_what_the_configs_say() -> None:
    test = with_test({**OF_CODE, "a": {"model": "claude"}, "b": {"profile": "high_accuracy"}})
    assert replace(built(test), ab_test=None) == built(snapshot())


def test_a_profile_that_was_switched_to_gives_way_to_that_of_a_variant() -> None:
    test = with_test(
        {**OF_CODE, "a": {}, "b": {"profile": "high_accuracy"}}, code_analysis="balanced"
    )
    found = built(test).ab_test
    assert found is not None
    assert (found.a.profile, found.b.profile) == ("balanced", "high_accuracy")


def test_only_requests_of_its_domains_are_in_a_test() -> None:
    test = with_test({**OF_CODE, "a": {}, "b": {"model": "claude"}})
    assert built(test, "summaries").ab_test is None
    assert built(test, None).ab_test is None
    of_task = with_test(
        {"name": "trial", "domains": ["summarization"], "a": {}, "b": {"model": "gpt4"}}
    )
    assert built(of_task, "summaries").ab_test is not None


def test_without_domains_it_is_of_requests_without_one() -> None:
    test = with_test({"name": "trial", "a": {"share": 0.9}, "b": {"model": "claude"}})
    found = built(test, None).ab_test
    assert found is not None
    assert (found.a.model.name, found.b.model.name) == ("gpt4", "claude")
    assert found.share_of_b == pytest.approx(0.1)
    assert built(test, "code_analysis").ab_test is None


def test_who_names_a_profile_or_a_model_is_in_no_test() -> None:
    test = with_test({**OF_CODE, "a": {}, "b": {"model": "claude"}})
    assert built(test, profile="high_accuracy").ab_test is None
    assert built(test, model=built(test).model).ab_test is None


def test_models_of_variants_are_in_use() -> None:
    of = with_test({"name": "trial", "domains": ["summarization"], "a": {}, "b": {"model": "gpt4"}})
    assert set(models_in_use(of, "test", 1)["gpt4"]) >= {"summarization", "summaries"}


def test_what_a_variant_names_is_deployed_with_it(place: Project) -> None:
    test = "  ab_test:\n    name: trial\n    domains: [code_analysis]\n    a: {}\n"
    test += "    b: {profile: high_accuracy}\n"
    edit(place, "integration", "  budgets:\n", f"{test}  budgets:\n")
    deploy_config(place, ["code_analysis"], environment="test")
    found = load_effective("test", "code_analysis", project=place).ab_test
    assert found is not None
    assert found.b.profile == "high_accuracy"


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ("a: {}\n    b: {share: 20%}", "error: 'ab_test.a' and 'ab_test.b' are the same"),
        ("a: {share: 50%}\n    b: {model: claude, share: 60%}", "error: the shares of 'ab_test.a'"),
        ("a: {}\n    b: {profile: high_accuracy}", "error: 'ab_test.b.profile' has no effect"),
        (
            "a: {}\n    b: {model: clod}",
            "names the language model 'clod', which does not exist",
        ),
        (
            "domains: [summarization, summarization]\n    a: {}\n    b: {model: gpt4}",
            "error: 'summarization' is already in",
        ),
    ],
)
def test_a_test_that_compares_nothing_is_a_problem(place: Project, sides: str, said: str) -> None:
    found = findings(place, f"  ab_test:\n    name: trial\n    {sides}\n")
    assert any(said in each for each in found), found


def test_a_model_that_the_profile_hides_is_a_warning(place: Project) -> None:
    edit(place, "performance_profiles/high_accuracy", "samples: 3", "samples: 3\nmodel: claude")
    test = "  ab_test:\n    name: trial\n    domains: [code_analysis]\n    a: {}\n"
    test += "    b: {profile: high_accuracy, model: basic_nlp}\n"
    assert any("'ab_test.b.model' has no effect" in each for each in findings(place, test))
