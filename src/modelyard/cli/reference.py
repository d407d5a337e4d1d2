"""docs/cli.md, made from the commands themselves: `python -m modelyard.cli.reference docs/cli.md`.

A test fails when the file is stale, or when a command or a parameter has no help.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from modelyard.cli.app import EXIT_CODES, app
from modelyard.core.files import write_atomic

Command = TyperCommand | TyperGroup
Parameter = TyperArgument | TyperOption

_VERBATIM = "\b\n"  # how a help text says that a paragraph's lines are not to be filled
_OPENING = """\
# The commands

<!-- Made by `make docs` from the commands; edit their help texts instead of this file. -->

Results go to stdout, and with `--json` as one JSON document; progress, warnings and errors go to
stderr. Every command has `-h` and `--help`.
"""


@dataclass(frozen=True, slots=True)
class Documented:
    """One command as a person types it."""

    usage: str
    command: Command

    @property
    def parameters(self) -> list[Parameter]:
        """What it takes, in the order of `--help`, without what is hidden."""
        shown = [p for p in self.command.params if isinstance(p, Parameter) and not p.hidden]
        return sorted(shown, key=lambda parameter: isinstance(parameter, TyperOption))


def documented_commands() -> list[Documented]:
    """The root and every command below it, in the order of `models --help`."""
    return list(_walk("models", typer.main.get_command(app)))


def render_reference() -> str:
    """The whole of docs/cli.md."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    table = f"## Exit codes\n\n| code | meaning |\n|---:|---|\n{codes}\n"
    sections = [_section(documented) for documented in documented_commands()]
    return "\n".join([_OPENING, table, *sections])


def _walk(usage: str, command: object) -> Iterator[Documented]:
    assert isinstance(command, Command)
    yield Documented(usage, command)
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from _walk(f"{usage} {name}", below)


def _section(documented: Documented) -> str:
    arguments = [p for p in documented.parameters if isinstance(p, TyperArgument)]
    words = [documented.usage, *(_argument(argument) for argument in arguments)]
    if isinstance(documented.command, TyperGroup):
        words.append("COMMAND")
    lines = [f"## `{' '.join(words)}`", "", _prose(documented.command.help or ""), ""]
    if documented.parameters:
        lines += ["| parameter | meaning | default |", "|---|---|---|"]
        lines += [_row(parameter) for parameter in documented.parameters]
        lines.append("")
    return "\n".join(lines)


def _prose(help_text: str) -> str:
    """A help text as Markdown; a paragraph that starts with \\b keeps its lines, as in --help."""
    paragraphs = help_text.strip().split("\n\n")
    return "\n\n".join(
        f"```\n{paragraph.removeprefix(_VERBATIM)}\n```"
        if paragraph.startswith(_VERBATIM)
        else paragraph
        for paragraph in paragraphs
    )


def _argument(argument: TyperArgument) -> str:
    name = argument.display_name_raw.upper().rstrip(".") + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        name = f"`{_argument(parameter)}`"
    else:
        takes = "" if parameter.is_flag else f" {_value_name(parameter)}"
        spellings = [*parameter.opts, *parameter.secondary_opts]
        name = ", ".join(f"`{spelling}{takes}`" for spelling in spellings)
        if parameter.multiple:
            name += " (repeatable)"
    meaning = " ".join((parameter.help or "").split())
    if parameter.envvar:
        meaning += f" Also: `${parameter.envvar}`."
    return f"| {_cell(name)} | {_cell(meaning)} | {_cell(_default(parameter))} |"


def _value_name(option: TyperOption) -> str:
    if option.metavar:
        return option.metavar
    choices = option.type_descriptor.choices
    return "|".join(str(choice) for choice in choices) if choices else option.name.upper()


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    empty = parameter.default is None or parameter.default is False or parameter.default == []
    return "" if empty or callable(parameter.default) else f"`{parameter.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_atomic(Path(sys.argv[1]), render_reference())
