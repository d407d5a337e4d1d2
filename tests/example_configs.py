"""The example configs: files under tests/examples/configs/ that are tests by lying there.

Each is checked in a project with this repository's own configs, base models and dataset, and two
versions of an adapter called `support`. It stands in for the config of its name, or comes to them.
A folder under `cases/` holds several files that are checked together.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.layout import Project

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "tests" / "examples" / "configs"
_EXPECTED = re.compile(r"# expect: (\d+):(\d+) (.+)")


def example_cases(which: str) -> list[Path]:
    """The examples of one folder, `good` or `bad`: a file, or a folder of files."""
    top = EXAMPLES / which
    single = [path for path in top.rglob("*.yaml") if "cases" not in path.relative_to(top).parts]
    return sorted([*single, *top.glob("cases/*/")])


def example_files(case: Path) -> list[Path]:
    """The files of a case."""
    return sorted(case.rglob("*.yaml")) if case.is_dir() else [case]


def make_project(root: Path) -> Project:
    """A project with what the examples name."""
    project = Project(root)
    shutil.copytree(REPOSITORY / "configs", project.configs, symlinks=True)
    shutil.copytree(REPOSITORY / "models" / "base", project.bases)
    shutil.copytree(REPOSITORY / "datasets" / "techcorp", project.dataset("techcorp"))
    for number in (1, 2):
        project.adapter_version("support", number).mkdir(parents=True)
    project.trained.mkdir()
    project.trained_link("support").symlink_to("../versions/support/2")
    project.adapter_version("unproven", 1).mkdir(parents=True)
    guide = project.root / "docs" / "guide.md"
    guide.parent.mkdir()
    guide.write_text("# A guide\n")
    return project


def check_case(project: Project, case: Path) -> CheckReport:
    """The report on a case, as if its files lay in the project."""
    return check_configs(ConfigCatalogue(project), example_files(case))


def expected_findings(case: Path) -> list[str]:
    """What the `# expect: LINE:COL message` remarks of a case announce, each with its file."""
    return sorted(
        f"{path.name}:{line}:{column}: {message}"
        for path in example_files(case)
        for line, column, message in _EXPECTED.findall(path.read_text("utf-8", "replace"))
    )


def shown_findings(report: CheckReport) -> list[str]:
    """The findings in the form of the announced ones."""
    return sorted(
        f"{Path(finding.where or '').name}: {finding.message}" for finding in report.findings
    )
