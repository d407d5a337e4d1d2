"""`models config schema`: the JSON Schemas of the configs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.files import write_atomic


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="A kind of config. Default: list the kinds."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The schemas of all kinds, as files in the folder --to.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="With --all: the folder that gets a KIND.json for each."
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of config.

    The schemas (draft-07) are for editors and other tools. A config whose first line is
    `# yaml-language-server: $schema=../schemas/KIND.json` is completed and checked as it is
    typed. They are made from the same classes that `models validate-config` checks with.

    \b
    models config schema
    models config schema language_models
    models config schema --all --to configs/schemas
    """
    from modelyard.configs.kinds import KINDS

    if every or to is not None:
        _write_all(kind, every, to)
    elif kind is None:
        print_table(
            ("kind", "what one file says"), [(known.name, known.title) for known in KINDS.values()]
        )
    elif kind not in KINDS:
        raise InvalidInput(
            f"there is no kind of config {kind!r}{did_you_mean(kind, list(KINDS))}",
            hint="`models config schema` lists them",
        )
    else:
        from modelyard.configs.schema import build_schema

        print_json(build_schema(KINDS[kind]))


def _write_all(kind: str | None, every: bool, to: Path | None) -> None:
    from modelyard.configs.kinds import KINDS
    from modelyard.configs.schema import build_schema, render_schema

    if kind is not None or not every or to is None:
        raise InvalidInput(
            "--all and --to go together, without a kind",
            hint="for one kind: `models config schema KIND > FILE`",
        )
    try:
        for known in KINDS.values():
            write_atomic(to / f"{known.name}.json", render_schema(build_schema(known)))
    except OSError as error:
        raise InvalidInput(
            f"cannot be a folder of schemas: {error.strerror}",
            where=str(to),
            hint="name a folder, or where one can be made",
        ) from error
    print_text(f"wrote {len(KINDS)} schemas to {to}")
