"""What a reference means in a project, and what is said when it means nothing or too much."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from adapter_samples import BETTER, facts, fill_with
from deploy_samples import deploy_config, edit, switch_config, write_deploy_project
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import register_version
from modelyard.core.errors import InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.revisions import NotDeployed
from modelyard.modelrefs.listing import list_model_names
from modelyard.modelrefs.local_model import require_model
from modelyard.modelrefs.resolving import resolve_model
from modelyard.weights.catalogue import BaseCard, find_base

LOCAL = """\
description: On this machine
provider: local
model: tiny
context_tokens: 512
max_output_tokens: 100
"""
CARD = """\
---
name: {name}
summary: For tests.
parameters: 1000
licence: Apache-2.0
context_length: 512
sources:
  - kind: path
    path: nowhere
---
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Bases tiny and small, adapter support@1 and @2, and the configs of deploy_samples."""
    project = write_deploy_project(tmp_path / "project")
    for name in ("tiny", "small"):
        card = project.base_card(name)
        card.parent.mkdir(parents=True)
        card.write_text(CARD.format(name=name))
    return project


@pytest.fixture
def support(project: Project) -> Project:
    """The project with support@1, which is active, and support@2."""
    first, _ = (
        register_version(project, "support", fill=fill_with(BETTER), provenance=facts(run))
        for run in ("run-1", "run-2")
    )
    promote_version(project, first)
    return project


def write_model(project: Project, name: str, text: str) -> None:
    (project.configs / "language_models" / f"{name}.yaml").write_text(text)


def test_a_base_and_an_adapter_are_found_by_name(support: Project) -> None:
    for reference in ("tiny", "base:tiny"):
        found = resolve_model(support, reference)
        assert (str(found.ref), found.base, found.version) == ("base:tiny", "tiny", None)
    for reference in ("support", "adapter:support", "support@1", "adapter:support@1"):
        found = resolve_model(support, reference)
        assert found.version is not None
        assert (str(found.ref), found.base, found.version.number) == ("support@1", "tiny", 1)
    assert str(resolve_model(support, "support@2").ref) == "support@2"


def test_a_base_is_found_by_its_repository_and_called_by_its_name(project: Project) -> None:
    card = project.base_card("small")
    card.write_text(card.read_text().replace("sources:", "upstream: Example/Small\nsources:"))
    for reference in ("Example/Small", "base:Example/Small"):
        assert str(resolve_model(project, reference).ref) == "base:small"
    write_model(project, "local", LOCAL.replace("model: tiny", "model: Example/Small"))
    assert resolve_model(project, "model:local").base == "small"
    with pytest.raises(InvalidInput, match=r"'Example/Smal' \(did you mean 'Example/Small'\?\)"):
        resolve_model(project, "Example/Smal")


def test_a_language_model_is_found_by_its_name_or_an_alias(support: Project) -> None:
    edit(support, "language_models/gpt4_config", "provider:", "aliases: [gpt-4]\nprovider:")
    for reference in ("gpt4", "gpt-4", "model:gpt4", "model:gpt-4"):
        found = resolve_model(support, reference)
        assert (str(found.ref), found.base, found.language_model) == ("model:gpt4", None, "gpt4")
    write_model(support, "local_support", LOCAL + "adapter: support@2\n")
    found = resolve_model(support, "local_support")
    assert found.version is not None
    assert (found.base, found.version.name) == ("tiny", "support@2")


def test_a_language_model_is_the_one_that_runs_in_the_environment(project: Project) -> None:
    write_model(project, "local", LOCAL + "aliases: [mine]\n")
    with pytest.raises(NotDeployed, match="nothing is deployed to test"):
        resolve_model(project, "model:local", environment="test")
    deploy_config(project, ["local"], environment="test")
    write_model(project, "local", LOCAL.replace("tiny", "small"))
    assert resolve_model(project, "local").base == "small"
    assert resolve_model(project, "local", environment="test").base == "tiny"
    assert resolve_model(project, "mine", environment="test").base == "tiny"
    with pytest.raises(InvalidInput, match="no model is called 'mine'"):
        resolve_model(project, "mine")


def test_the_revision_is_the_one_that_the_settings_are_part_of(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when another process deploys just after they were read."""
    write_model(project, "local", LOCAL)
    edit(project, "specialized_models/summarization", "model: claude", "model: local")
    deploy_config(project, environment="test", every_config=True)
    lengths = itertools.count(101)

    def deploy_and_find(project: Project, name: str) -> BaseCard:
        write_model(project, "local", LOCAL.replace("100", str(next(lengths))))
        deploy_config(project, ["local"], environment="test")
        return find_base(project, name)

    monkeypatch.setattr("modelyard.modelrefs.resolving.find_base", deploy_and_find)
    for number, reference in enumerate(("model:local", "domain:summaries"), start=1):
        found = resolve_model(project, reference, environment="test")
        assert found.config_revision == number


def test_a_domain_is_what_answers_for_it_with_its_adapter_and_profile(support: Project) -> None:
    write_model(support, "local", LOCAL)
    write_model(support, "other", LOCAL.replace("tiny", "small"))
    domain = "specialized_models/code_analysis"
    edit(support, domain, "model: gpt4", "model: local\nadapter: support")
    edit(support, "performance_profiles/high_accuracy", "samples: 3", "samples: 3\nmodel: other")
    found = resolve_model(support, "domain:code_analysis")
    assert found.version is not None
    assert (str(found.ref), found.base, found.version.name, found.language_model) == (
        "domain:code_analysis",
        "tiny",
        "support@1",
        "local",
    )
    switch_config(
        support, profile="high_accuracy", domain="code_analysis", environment="development"
    )
    assert resolve_model(support, "domain:code_analysis").base == "small"


def test_a_name_that_fits_several_kinds_is_an_error_that_names_them(support: Project) -> None:
    write_model(support, "tiny", LOCAL + "aliases: [support]\n")
    with pytest.raises(InvalidInput, match="'tiny' fits several models: base:tiny, model:tiny"):
        resolve_model(support, "tiny")
    with pytest.raises(InvalidInput, match="adapter:support, model:tiny") as caught:
        resolve_model(support, "support")
    assert caught.value.hint == "say which is meant, such as adapter:support"
    assert str(resolve_model(support, "model:support").ref) == "model:tiny"
    assert str(resolve_model(support, "support@1").ref) == "support@1"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tinny", r"no model is called 'tinny' \(did you mean 'tiny'\?\)"),
        ("suport", r"\(did you mean 'support'\?\)"),
        ("gpt-5", r"\(did you mean 'gpt-4'\?\)"),
        ("code_analysis", r"no model .* \(did you mean 'domain:code_analysis'\?\)"),
        ("base:tinny", r"no base model is called 'tinny' \(did you mean 'tiny'\?\)"),
        ("adapter:suport", r"there is no adapter 'suport' \(did you mean 'support'\?\)"),
        ("support@7", "there is no support@7"),
        ("model:gpt5", r"no language model .* in development \(did you mean 'gpt4'\?\)"),
        ("domain:code", r"there is no domain 'code' in development"),
        ("custom/lab_assistant", "there is no custom model called 'lab_assistant'"),
    ],
)
def test_an_unknown_name_says_what_is_near(support: Project, reference: str, message: str) -> None:
    edit(support, "language_models/gpt4_config", "provider:", "aliases: [gpt-4]\nprovider:")
    with pytest.raises(InvalidInput, match=message) as caught:
        resolve_model(support, reference)
    assert caught.value.hint


def test_everything_that_can_be_named_is_listed_in_one_line(support: Project) -> None:
    edit(support, "language_models/gpt4_config", "provider:", "aliases: [gpt-4]\nprovider:")
    assert list_model_names(support, "development").listed() == (
        "there are base models small, tiny; adapters support; "
        "language models basic_nlp, claude, gpt4 (gpt-4); domains domain:code_analysis, "
        "domain:summaries, domain:summarization"
    )
    assert list_model_names(support, "test").listed() == (
        "there are base models small, tiny; adapters support; nothing is deployed to test: "
        "models deploy-config --all --env test"
    )


def test_a_broken_config_stops_only_names_that_it_may_hold(support: Project) -> None:
    write_model(support, "broken", "provider: nobody\n")
    assert resolve_model(support, "tiny").base == "tiny"
    assert resolve_model(support, "support").base == "tiny"
    for reference in ("mine", "model:gpt4"):
        with pytest.raises(ProblemsFound, match=r"broken\.yaml is not valid"):
            resolve_model(support, reference)


def test_an_adapter_of_another_base_is_refused(support: Project) -> None:
    write_model(support, "wrong", LOCAL.replace("tiny", "small") + "adapter: support\n")
    with pytest.raises(InvalidInput, match="support@1 was trained on tiny, not on small") as caught:
        resolve_model(support, "wrong")
    assert caught.value.hint == "correct the config of wrong"


def test_a_model_that_is_elsewhere_says_why_it_cannot_be_loaded(project: Project) -> None:
    write_model(
        project,
        "vllm",
        LOCAL.replace("provider: local", "provider: openai_compatible")
        + "endpoint: http://localhost:8000/v1\n",
    )
    for reference, why in (
        ("gpt4", "model:gpt4 answers at openai, so there are no weights to load here"),
        ("domain:summaries", "domain:summaries is answered by claude, which answers at anthropic"),
        ("vllm", "model:vllm answers at an endpoint"),
        ("basic_nlp", "model:basic_nlp answers without a model"),
    ):
        with pytest.raises(InvalidInput) as caught:
            require_model(project, resolve_model(project, reference), progress=Silent())
        assert caught.value.message.startswith(why)
        assert "provider local" in (caught.value.hint or "")


def test_a_damaged_link_of_an_adapter_is_reported(support: Project) -> None:
    support.trained_link("support").unlink()
    support.trained_link("support").symlink_to("../versions/other/1")
    with pytest.raises(ModelyardError, match="is no version of support"):
        resolve_model(support, "support")
    assert str(resolve_model(support, "support@1").ref) == "support@1"
