"""docs/cli.md says what the commands are, because it is made from them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from modelyard.cli.app import app
from modelyard.cli.reference import VARIABLES, Documented, documented_commands, render_reference
from modelyard.core.layout import Project

COMMANDS = documented_commands()
REFERENCE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_reference_is_fresh() -> None:
    assert REFERENCE.read_text() == render_reference(), "run `make docs` and commit docs/cli.md"


@pytest.mark.parametrize("documented", COMMANDS, ids=lambda documented: documented.usage)
def test_every_command_and_parameter_has_help(documented: Documented) -> None:
    assert documented.command.help
    silent = [parameter.name for parameter in documented.parameters if not parameter.help]
    assert silent == []


@pytest.mark.parametrize("documented", COMMANDS[1:], ids=lambda documented: documented.usage)
def test_every_summary_fits_on_its_line_of_the_help(documented: Documented) -> None:
    assert len((documented.command.help or "").splitlines()[0]) <= 56


def test_every_environment_variable_of_the_product_is_in_the_reference() -> None:
    sources = (Path(__file__).parents[2] / "src").rglob("*.py")
    variable = re.compile(r"\bMODELS_[A-Z_]*[A-Z]")
    named = {name for path in sources for name in variable.findall(path.read_text())}
    former = {"MODELS_YARD"}
    assert named - former == {name for name in VARIABLES if name.startswith("MODELS_")}


def test_every_command_of_the_app_is_in_the_reference() -> None:
    found = {documented.usage for documented in COMMANDS}
    assert {
        "models doctor",
        "models init",
        "models base list",
        "models base show",
        "models base pull",
        "models adapters list",
        "models adapters show",
        "models adapters promote",
        "models adapters rollback",
        "models adapters history",
        "models adapters pin",
        "models adapters unpin",
        "models adapters gc",
        "models adapters export",
        "models adapters import",
        "models adapters diff",
        "models adapters verify",
        "models prepare-data",
        "models feedback add",
        "models feedback list",
        "models fine-tune",
        "models evaluate",
        "models generate",
        "models validate-config",
        "models config explain",
        "models config schema",
        "models config diff",
    } <= found


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("explain --help", "config explain --help"),
        ("schema language_models", "config schema language_models"),
        ("embeddings status --help", "index status --help"),
    ],
)
def test_a_former_name_still_works_and_is_not_shown(
    former: str, present: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for words in (former, present):
        with suppress(SystemExit):
            app(words.split(), prog_name="models")
        shown.append(capsys.readouterr().out.partition("\n")[2])
    assert shown[0] == shown[1] != ""
    with suppress(SystemExit):
        app(["--help"], prog_name="models")
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert f"  {former.split()[0]} " not in listed


def test_the_former_option_and_variable_for_the_project_still_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--yard", str(project.root)], ["--project", str(project.root)]):
        monkeypatch.delenv("MODELS_PROJECT", raising=False)
        with pytest.raises(SystemExit) as ended:
            app([*words, "base", "list", "--json"], prog_name="models")
        assert ended.value.code == 0
    monkeypatch.delenv("MODELS_PROJECT")
    monkeypatch.setenv("MODELS_YARD", str(project.root))
    with pytest.raises(SystemExit) as ended:
        app(["base", "list", "--json"], prog_name="models")
    assert ended.value.code == 0
