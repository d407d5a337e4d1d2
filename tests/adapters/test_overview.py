from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_samples import BETTER, facts, fill_with
from modelyard.adapters.gc import pin_version
from modelyard.adapters.overview import (
    load_overview,
    summarize_adapters,
)
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import AdapterVersion, register_version
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.records.provenance import Origin

Register = Callable[..., AdapterVersion]


def test_a_version_is_summed_up_from_its_manifest_and_card(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    (summary,) = summarize_adapters(bare_project)
    (only,) = summary.versions
    assert (summary.name, summary.active, summary.problem) == ("demo", None, None)
    assert only.base == version.manifest.base
    assert only.data == version.manifest.data
    assert only.trained_at == version.manifest.created_at
    assert only.evaluation == BETTER
    assert only.size_bytes == sum(place.stat().st_size for place in version.path.iterdir())
    assert (only.pinned, only.problem, only.org) == (False, None, "techcorp")


def test_the_active_version_speaks_for_the_adapter_else_the_newest(
    bare_project: Project, register: Register
) -> None:
    first, second = register("run-1"), register("run-2")
    pin_version(bare_project, "demo", 2)
    (summary,) = summarize_adapters(bare_project)
    assert summary.shown.number == second.number
    assert [version.pinned for version in summary.versions] == [False, True]
    promote_version(bare_project, first)
    (summary,) = summarize_adapters(bare_project)
    assert (summary.active, summary.shown.number) == (1, 1)


def test_adapters_are_chosen_by_organisation(bare_project: Project, register: Register) -> None:
    register("run-1")
    register("run-2", adapter="other", org="elsewhere")
    register("run-3", adapter="nobodys", org=None)

    def names(org: str | None) -> list[str]:
        return [summary.name for summary in summarize_adapters(bare_project, org=org)]

    assert names(None) == ["demo", "nobodys", "other"]
    assert names("elsewhere") == ["other"]
    assert names("nobody") == []


def test_what_is_damaged_is_named_and_the_rest_is_listed(
    bare_project: Project, register: Register
) -> None:
    register("run-1")
    (register("run-2").path / "MANIFEST.json").unlink()
    (register("run-3").path / "TRAINING_INFO.md").unlink()
    bare_project.trained.mkdir()
    bare_project.trained_link("demo").symlink_to("../versions/demo/9")
    (summary,) = summarize_adapters(bare_project)
    assert summary.problem == "demo@9 is not here: `models adapters pull demo@9 REMOTE`"
    problems = [version.problem for version in summary.versions]
    assert problems == [
        None,
        "models/versions/demo/2/MANIFEST.json: is missing",
        "models/versions/demo/3/TRAINING_INFO.md: cannot read: No such file or directory",
    ]
    bare_project.trained_link("demo").unlink()
    bare_project.trained_link("demo").symlink_to("nowhere")
    assert "is no version of demo" in str(summarize_adapters(bare_project)[0].problem)


def test_reading_leaves_no_trace(bare_project: Project, register: Register) -> None:
    register("run-1")
    before = sorted(bare_project.root.rglob("*"))
    summarize_adapters(bare_project)
    assert sorted(bare_project.root.rglob("*")) == before


@pytest.fixture
def two(project: Project) -> None:
    """Two versions on the base `tiny`, and one on a base that nobody knows."""
    for index, base in enumerate(("tiny", "tiny", "unknown")):
        register_version(
            project,
            "demo",
            fill=fill_with(BETTER),
            provenance=facts(f"run-{index}", base=Origin(name=base, fingerprint="sha256:x")),
        )


def test_full_fine_tunes_are_counted_from_the_real_weights_of_the_base(
    project: Project, two: None, tiny_base_folder: Path
) -> None:
    weights = (tiny_base_folder / "model.safetensors").stat().st_size
    found = load_overview(project, progress=Silent())
    assert list(found.bases) == ["tiny"]
    assert (found.bases["tiny"].size_bytes, found.bases["tiny"].measured) == (weights, True)
    assert (found.total.full_fine_tunes_bytes, found.total.full_fine_tunes) == (2 * weights, 2)
    assert (found.total.adapters, found.total.versions) == (1, 3)


def test_without_the_base_they_are_counted_from_its_card(
    project: Project, two: None, tiny_base_folder: Path
) -> None:
    card = project.base_card("tiny")
    card.write_text(card.read_text().replace(str(tiny_base_folder), "/nowhere"))
    found = load_overview(project, progress=Silent())
    assert (found.bases["tiny"].size_bytes, found.bases["tiny"].measured) == (2 * 99000, False)
    assert (found.total.full_fine_tunes_bytes, found.total.full_fine_tunes) == (4 * 99000, 2)
