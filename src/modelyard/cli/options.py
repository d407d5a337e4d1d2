"""Arguments and options that several commands share, with the same meaning everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project, find_project


def complete_environment(incomplete: str) -> list[str]:
    """The declared environments that begin so, for the shell."""
    with suppress(ModelyardError, OSError):
        from modelyard.configs.reading.catalogue import ConfigCatalogue

        names = ConfigCatalogue(find_project()).environments.names
        return [name for name in names if name.startswith(incomplete)]
    return []


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def add_schema_option(command: TyperCommand, function: str) -> None:
    """Give a command that has `--json` the option to print the schema of it."""

    def print_schema(context: typer.Context, _: object, asked: bool) -> None:
        if asked:
            from modelyard.cli.results import command_schema
            from modelyard.settings.json_schema import render_schema

            typer.echo(render_schema(command_schema(function, context.command_path)), nl=False)
            raise typer.Exit

    for place, option in enumerate(command.params):
        if "--json" in option.opts:
            schema: Any = copy(option)
            schema.name, schema.opts = "json_schema", ["--json-schema"]
            schema.help = "Print the JSON Schema of that instead, and do nothing."
            schema.is_eager, schema.expose_value = True, False
            schema.callback = print_schema
            command.params.insert(place + 1, schema)
            return


DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say exactly what would change, and change nothing.")
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, help="How long to wait for another process to finish."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Use only what is already on this machine.")
]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat",
        help="A conversation: each line is a question, and what was said before counts. /help "
        "lists its commands.",
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="ENV",
        envvar="MODELS_ENV",
        autocompletion=complete_environment,
        help="The environment. Default: development.",
    ),
]


def work_in_project_of(words: Iterable[str | None], *, unless_in_one: bool = False) -> None:
    """Work in the project that a config named by its path lies in, as if with `--project`.

    With `unless_in_one` the project around the current folder is kept, if there is one.
    Raises InvalidInput for configs of several projects.
    """
    given = [word for word in words if word]
    if not given:
        return
    from modelyard.configs.reading.catalogue import by_project, project_named

    if len(by_project(given)) > 1:
        raise InvalidInput(
            "configs of several projects are named", hint="take those of one project at a time"
        )
    around = None
    with suppress(InvalidInput):
        around = find_project()
    named = project_named(given)
    if named not in (None, around) and not (around and unless_in_one):
        os.environ["MODELS_PROJECT"] = str(named.root)


def chosen_environment(project: Project, environment: str | None) -> str:
    """The environment named, else development. Raises InvalidInput when it does not exist."""
    if environment is None:
        return DEFAULT_ENVIRONMENT
    from modelyard.deployments.revisions import check_environment

    return check_environment(project, environment)


Repo = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="URL",
        envvar="MODELS_BACKUP_REPO",
        help="The repository of backups: file:///FOLDER, s3://BUCKET/PREFIX, gs:// or az://. "
        "Default: .models/backups, on the disk of the project.",
    ),
]
BackupKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="env:NAME|file:PATH",
        help="Where the key of an encrypted repository is: a passphrase, or an identity of age. A "
        "new repository is encrypted when a key is given.",
    ),
]

HtmlFile = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Also write a page that stands by itself to this file."
    ),
]
Recipients = Annotated[
    list[str] | None,
    typer.Option(
        "--recipient",
        metavar="age1...",
        help="A public key of age whose owner can open the new repository too, such as one that is "
        "kept for emergencies; can be given several times.",
    ),
]

AdapterName = Annotated[
    str, typer.Argument(metavar="NAME", help="An adapter; `models adapters list` shows them.")
]
VersionName = Annotated[
    str,
    typer.Argument(metavar="NAME[@V]", help="A version of an adapter; without @V, the active one."),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="The reason, kept in the history."),
]
