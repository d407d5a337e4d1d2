"""docs/cli.md says what the commands are, because it is made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.cli.reference import Documented, documented_commands, render_reference

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
    assert len((documented.command.help or "").splitlines()[0]) <= 60


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
        "models explain",
        "models schema",
        "models config diff",
    } <= found
