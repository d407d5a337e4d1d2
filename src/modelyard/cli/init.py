"""`models init`: a new project."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_text, print_title
from modelyard.cli.sharing import Mode, print_sharing
from modelyard.core.errors import InvalidInput
from modelyard.core.wording import counted
from modelyard.results.json_form import result_of

if TYPE_CHECKING:
    from modelyard.setup.init import NewProject


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """A new project, or what would be written of it."""

    project: Path
    """Its folder."""
    dry_run: bool
    """Whether nothing was written."""
    written: tuple[str, ...]
    """The files that were written, from the project's root; in a dry run those that would be."""
    kept: tuple[str, ...]
    """The files that existed before, and stay as they are."""
    sharing: str
    """With whom the project is shared: `private`, `group` or `all`."""


def init(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="The folder to make a project in; created if missing."),
    ],
    sharing: Annotated[
        Mode | None,
        typer.Option(
            "--sharing",
            help="With whom the project is shared: its owner alone (private, the default), the "
            "group of its folder, or all, who may then read it. Of an existing project it is "
            "changed, as `models project sharing` does.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a new project with an example of each file.

    A file that exists is never overwritten, so running it again adds only what is missing.

    \b
    models init my-project
    models init our-project --sharing group
    models init . --dry-run
    """
    from modelyard.core.sharing import Sharing
    from modelyard.setup.init import init_project

    if not folder:
        raise InvalidInput("the folder's name is empty", hint="the current folder is `.`")
    chosen = Sharing(sharing) if sharing else None
    outcome = init_project(Path(folder), sharing=chosen, dry_run=dry_run)
    if as_json:
        result = result_of(InitResult, outcome, project=outcome.project.root, dry_run=dry_run)
        print_json(result)
    else:
        _print(folder, outcome, dry_run)
    if outcome.shared:
        outcome.shared.require_whole()


def _print(folder: str, outcome: NewProject, dry_run: bool) -> None:
    if not outcome.written:
        print_text(
            f"{folder} has all {counted(len(outcome.kept), 'file')} of a new project: "
            "nothing to write."
        )
    else:
        verb = "Would write" if dry_run else "Wrote"
        print_title(f"{verb} {counted(len(outcome.written), 'file')} in {folder}")
        for path in outcome.written:
            print_text(f"  {path}")
        if outcome.kept:
            print_title(f"Kept {counted(len(outcome.kept), 'existing file')}")
            for path in outcome.kept:
                print_text(f"  {path}")
    if outcome.shared:
        print_sharing(outcome.shared)
    if dry_run:
        return
    print_text()
    print_title("Next commands")
    if outcome.project.root.resolve() != Path.cwd():
        print_text(f"  cd {shlex.quote(folder)}")
    for line in (
        "models doctor",
        "models fine-tune --dataset example --config configs/fine_tuning/small_data.yaml --promote",
        'models generate --adapter example --compare-base "How long may I keep a tool?"',
    ):
        print_text(f"  {line}")
