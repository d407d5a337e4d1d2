"""Many files are checked in several processes: the report is the one of a single process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from example_configs import EXAMPLES, make_project
from modelyard.configs.checking import check
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project

HOSTED = """\
description: A hosted model
provider: openai
model: gpt-4.1
api_key: env:OPENAI_API_KEY
context_tokens: 128k
max_output_tokens: 4k
prices: {input_per_million: $2.00, output_per_million: $8.00}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Every example with a mistake, beside the project's own configs; without cycles."""
    project = make_project(tmp_path)
    for path in (EXAMPLES / "bad").glob("*/*.yaml"):
        kind = path.parent.name
        skipped = kind in ("environments", "integration", "kindless")
        if not skipped and "is a cycle" not in path.read_text():
            shutil.copyfile(path, project.configs / path.parent.name / path.name)
    return project


def cycles(project: Project) -> None:
    for name, fallback in (("a", "b"), ("b", "a")):
        path = project.configs / "language_models" / f"{name}.yaml"
        path.write_text(f"{HOSTED}fallback: {fallback}\n")


def odd_name(project: Project) -> None:
    path = project.configs / "language_models" / "odd.yaml"
    path.write_text(f"? name\n: even\n{HOSTED}")
    other = project.configs / "language_models" / "other.yaml"
    other.write_text(f"{HOSTED}fallback: even\n")


def found_by(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    """Whether several processes find the same as one, and whether their findings were taken."""
    paths = ConfigCatalogue(project).paths()
    alone = check_configs(ConfigCatalogue(project), paths)
    assert len(paths) > check._FEWEST_SHARED
    assert len(alone.findings) > len(paths)
    taken = []
    in_shares = check._check_in_shares

    def noted(*arguments: Any) -> Any:
        taken.append(in_shares(*arguments))
        return taken[-1]

    monkeypatch.setattr(check, "_check_in_shares", noted)
    shared = check_configs(ConfigCatalogue(project), paths, processes=3)
    return shared == alone, taken[0] is not None


def test_the_report_is_that_of_one_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found_by(project, monkeypatch) == (True, True)


@pytest.mark.parametrize("change", [cycles, odd_name])
def test_what_hangs_on_the_order_of_files_is_checked_in_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, change: Callable[[Project], None]
) -> None:
    change(project)
    assert found_by(project, monkeypatch) == (True, False)
