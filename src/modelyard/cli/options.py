"""Arguments and options that several commands share, with the same meaning everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EnvironmentName = Literal["development", "test", "production"]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
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
Environment = Annotated[
    EnvironmentName | None,
    typer.Option("--env", envvar="MODELS_ENV", help="The environment. Default: development."),
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
