"""What a check of configs does beyond the single mistakes, which tests/examples/configs shows."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.report import CheckReport
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import load_document
from modelyard.core.errors import ProblemsFound
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
LAST = """\
description: The last answer
provider: builtin
model: basic_nlp
context_tokens: 8k
max_output_tokens: 1k
"""


@pytest.fixture
def small(tmp_path: Path) -> Project:
    """A project with nothing in it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    return Project(tmp_path)


def write(project: Project, place: str, text: str) -> Path:
    path = project.configs / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def check(project: Project, *paths: Path, **options: object) -> CheckReport:
    catalogue = ConfigCatalogue(project)
    return check_configs(catalogue, paths or catalogue.paths(), **options)  # type: ignore[arg-type]


def shown(report: CheckReport) -> list[str]:
    return [str(finding) for finding in report.findings]


def test_all_findings_of_all_files_come_in_one_go_in_order(small: Project) -> None:
    write(small, "language_models/b.yaml", HOSTED + "colour: blue\nfallback: c\n")
    write(small, "language_models/a.yaml", "description: [\n")
    report = check(small)
    assert [finding.place[:2] for finding in report.findings] == [
        ("configs/language_models/a.yaml", 2),
        ("configs/language_models/b.yaml", 8),
        ("configs/language_models/b.yaml", 9),
    ]
    assert report.files == ("configs/language_models/a.yaml", "configs/language_models/b.yaml")
    assert not report.valid


def test_a_file_given_twice_is_checked_once(small: Project) -> None:
    path = write(small, "language_models/a.yaml", HOSTED + "colour: blue\n")
    assert len(shown(check(small, path, path))) == 1


def test_warnings_leave_a_config_valid(small: Project) -> None:
    write(small, "language_models/a.yaml", HOSTED + "environments: {}\n")
    report = check(small)
    assert [finding.level for finding in report.findings] == ["warning"]
    assert report.valid


def test_a_finding_of_one_environment_says_so_and_stands_in_its_overlay(small: Project) -> None:
    text = HOSTED + "environments:\n  test:\n    fallback: gone\n"
    path = write(small, "language_models/a.yaml", text)
    [finding] = check(small).findings
    assert (finding.place[1], finding.message.endswith("(in test)")) == (10, True)
    assert check(small, path, environments=("production",)).findings == ()
    [alone] = check(small, path, environments=("test",)).findings
    assert not alone.message.endswith("(in test)")


def test_a_finding_of_every_environment_is_said_once(small: Project) -> None:
    write(small, "language_models/a.yaml", HOSTED + "fallback: gone\n")
    [finding] = check(small).findings
    assert "(in " not in finding.message


def test_a_value_of_the_base_that_an_overlay_makes_wrong_is_shown_where_it_is_written(
    small: Project,
) -> None:
    text = HOSTED + "environments:\n  production:\n    context_tokens: 2k\n"
    write(small, "language_models/a.yaml", text)
    [finding] = check(small).findings
    assert finding.place[1:] == (6, 1)
    assert finding.message.endswith("(in production)")


def test_a_draft_outside_the_project_stands_in_for_the_config_of_its_name(
    small: Project, tmp_path: Path
) -> None:
    write(small, "language_models/first.yaml", HOSTED + "fallback: second\n")
    write(small, "language_models/second.yaml", HOSTED + "fallback: basic\n")
    write(small, "language_models/basic.yaml", LAST)
    assert check(small).findings == ()
    draft = tmp_path / "drafts" / "language_models" / "second.yaml"
    draft.parent.mkdir(parents=True)
    draft.write_text(HOSTED + "fallback: first\n")
    assert [
        "a cycle: second -> first -> second" in item for item in shown(check(small, draft))
    ] == [True]


def test_a_reference_to_a_broken_config_is_said_where_only_the_reference_is_checked(
    small: Project,
) -> None:
    path = write(small, "language_models/a.yaml", HOSTED + "fallback: broken\n")
    broken = write(small, "language_models/broken.yaml", "provider: [\n")
    assert [finding.code for finding in check(small, path).findings] == ["broken-reference"]
    assert [finding.code for finding in check(small, path, broken).findings] == ["yaml-syntax"]


def test_a_config_is_found_by_the_name_it_gives_itself(small: Project) -> None:
    write(small, "language_models/a.yaml", HOSTED + "fallback: other\n")
    write(small, "language_models/b_config.yaml", 'name: "other"\n' + LAST)
    assert check(small).findings == ()


def test_names_of_base_models_are_not_asked_for_where_there_is_no_project(tmp_path: Path) -> None:
    path = tmp_path / "language_models" / "a.yaml"
    path.parent.mkdir()
    path.write_text(LAST.replace("builtin", "local"))
    assert check_configs(ConfigCatalogue(Project(tmp_path)), [path]).findings == ()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"description: \xff\xfe\n", "yaml-not-utf8"),
        (b"a: 1\n" * 200_001, "yaml-too-large"),
        (b"'" + b"x" * 10_000_000, "yaml-too-large"),
        (b"- yes\n" * 200, "yaml-too-many-problems"),
        (b"[" * 1000, "yaml-too-deep"),
        (b"{a: " * 1000, "yaml-too-deep"),
    ],
    ids=["not-utf8", "many-keys", "ten-megabytes", "many-problems", "deep-lists", "deep-mappings"],
)
def test_a_hopeless_file_is_an_error_at_once(small: Project, data: bytes, rule: str) -> None:
    path = write(small, "language_models/a.yaml", "")
    path.write_bytes(data)
    began = time.monotonic()
    report = check(small)
    assert time.monotonic() - began < 1
    assert rule in {finding.code for finding in report.findings}


def test_a_file_that_is_gone_or_a_folder_is_an_error(small: Project) -> None:
    folder = small.configs / "language_models" / "a.yaml"
    folder.mkdir(parents=True)
    report = check(small, folder, folder.with_name("b.yaml"))
    assert {finding.code for finding in report.findings} == {"yaml-unreadable"}
    assert len(report.findings) == 2


def test_aliases_that_unfold_to_gigabytes_are_an_error_at_once(small: Project) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    write(small, "language_models/a.yaml", "\n".join(lines) + "\n")
    began = time.monotonic()
    assert {finding.code for finding in check(small).findings} == {"yaml-too-large"}
    assert time.monotonic() - began < 1


def test_a_thousand_files_of_one_project_take_no_longer_each_than_a_hundred(small: Project) -> None:
    def seconds(count: int) -> float:
        """CPU time of a check for each file, the least of three."""
        for number in range(count):
            text = HOSTED + f"fallback: model{number + 1}\n"
            write(small, f"language_models/model{number}.yaml", text)
        write(small, f"language_models/model{count}.yaml", LAST)
        took = []
        for _ in range(3):
            began = time.process_time()
            assert check(small).findings == ()
            took.append((time.process_time() - began) / count)
        return min(took)

    # A check that compared every file with every other would take ten times as long for each.
    few, many = seconds(100), seconds(1000)
    assert many < 5 * few, f"{few * 1e3:.2f} ms and {many * 1e3:.2f} ms a file"


def test_a_misspelt_name_among_a_thousand_finds_its_nearest(small: Project) -> None:
    for number in range(1000):
        write(small, f"language_models/model{number:03}.yaml", LAST)
    path = write(small, "language_models/a.yaml", HOSTED + "fallback: modle123\n")
    [finding] = check(small, path).findings
    assert "(did you mean 'model123'?)" in finding.message


def test_a_check_loads_nothing_heavy(small: Project) -> None:
    path = write(small, "language_models/a.yaml", HOSTED)
    program = f"""
import sys
from pathlib import Path
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import load_document
from modelyard.core.errors import ProblemsFound
from modelyard.configs.checking.check import check_configs
from modelyard.core.layout import Project
report = check_configs(ConfigCatalogue(Project(Path({str(small.root)!r}))), [Path({str(path)!r})])
assert report.findings == (), report.findings
heavy = {{"jsonschema", "rich", "sqlite3", "torch", "numpy", "typer", "modelyard.weights"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_strict_check_asks_the_json_schema_as_well(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelyard.configs.checking import json_schema

    path = write(small, "language_models/a.yaml", HOSTED)
    assert check(small, path, strict=True).findings == ()
    published = json_schema.load_schema("language_models")
    del published["properties"]["prices"]
    monkeypatch.setattr(json_schema, "load_schema", lambda kind: published)
    json_schema._validator.cache_clear()
    [finding] = check(small, path, strict=True).findings
    json_schema._validator.cache_clear()
    assert finding.code == "json-schema"
    assert check(small, path).findings == ()


def test_a_file_with_mistakes_still_says_which_secrets_it_needs(small: Project) -> None:
    write(small, "language_models/b.yaml", HOSTED + "colour: blue\nadapter: no\nname: Bad Name\n")
    report = check(small)
    assert not report.valid
    assert [use.reference for use in report.secrets] == ["env:OPENAI_API_KEY"]


@pytest.mark.parametrize(
    "slip", ["adapter: no", "provider: openai", "name: Bad Name", "? [a]\n: b"]
)
def test_nobody_but_the_check_reads_a_file_with_such_a_mistake(small: Project, slip: str) -> None:
    path = write(small, "language_models/b.yaml", HOSTED + slip + "\n")
    with pytest.raises(ProblemsFound):
        load_document(path)
    with pytest.raises(ProblemsFound):
        ConfigCatalogue(small).read(path)
    assert ConfigCatalogue(small).find("language_models", "b") is None
    assert ConfigCatalogue(small).inspect(path).problems


@pytest.mark.parametrize(
    ("glob", "is_said"),
    [
        ("src/**/*.py", False),
        ("**/*.py", False),
        ("Makefile", False),
        ("docs/*.rst", True),
        ("docs/none.md", True),
        ("dosc/*.md", True),
        ("docs/*.md", False),
    ],
)
def test_globs_that_wait_for_a_folder_are_no_mistake(
    small: Project, glob: str, is_said: bool
) -> None:
    (small.root / "docs").mkdir()
    (small.root / "docs" / "one.md").write_text("# One\n")
    group = write(
        small,
        "embedding_models/texts.yaml",
        "description: Prose\n"
        "encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 384, max_tokens: 256}\n"
        f"domains: {{docs: {{description: All, sources: ['{glob}']}}}}\n",
    )
    assert [finding.code for finding in check(small, group).findings] == ["no-files"] * is_said
