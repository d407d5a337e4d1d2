"""The doctor inspects everything and reports problems instead of failing."""

from __future__ import annotations

import pytest

from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.setup.doctor import Diagnosis, diagnose, installed_versions


def fixes(diagnosis: Diagnosis) -> dict[str, str]:
    return {missing.what: missing.fix for missing in diagnosis.missing}


def test_a_base_that_is_here_is_available_locally_with_its_size(project: Project) -> None:
    (base,) = diagnose(Silent()).bases
    assert (base.name, base.state) == ("tiny", "available locally")
    assert base.size_bytes is not None and base.size_bytes > 100_000


def test_a_base_that_is_not_here_comes_with_the_command_that_pulls_it(project: Project) -> None:
    card = project.base_card("tiny")
    card.write_text(card.read_text().replace("path: /", "path: /not/here/"))
    diagnosis = diagnose(Silent())
    assert diagnosis.bases[0].state == "not available locally"
    assert fixes(diagnosis)["base tiny"] == "models base pull tiny"


def test_a_card_that_cannot_be_read_is_a_finding(project: Project) -> None:
    project.base_card("tiny").write_text("no front matter")
    diagnosis = diagnose(Silent())
    assert diagnosis.project == project
    assert "models base list" in fixes(diagnosis)["base model cards that can be read"]


def test_a_sharing_that_cannot_be_read_is_a_finding_beside_the_others(project: Project) -> None:
    project.local_state.mkdir(exist_ok=True)
    project.project_file.write_text("nonsense: [")
    diagnosis = diagnose(Silent())
    assert diagnosis.sharing is None
    fix = fixes(diagnosis)["the line that says with whom the project is shared"]
    assert fix.startswith(".models/project.yaml:1: ") and "`sharing: MODE`" in fix
    assert [base.name for base in diagnosis.bases] == ["tiny"]


def test_outside_a_project_it_still_looks_at_machine_versions_and_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELS_PROJECT", "/nowhere")
    diagnosis = diagnose(Silent())
    assert diagnosis.project is None
    assert fixes(diagnosis)["a project"] == "models init DIR"
    assert [place.name for place in diagnosis.places] == ["our cache", "Hugging Face cache"]
    assert all(place.disk_free_bytes > 0 for place in diagnosis.places)


def test_versions_are_those_of_the_direct_dependencies() -> None:
    versions = installed_versions()
    assert {"python", "torch", "transformers", "typer", "bitsandbytes"} <= set(versions)
    assert "ruff" not in versions
    assert versions["torch"] is not None and versions["torch"].startswith("2.")
