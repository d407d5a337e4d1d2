"""`models project sharing`: with whom the project is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.layout import find_project
from modelyard.core.wording import counted

if TYPE_CHECKING:
    from modelyard.setup.share import SharingChange

Mode = Literal["private", "group", "all"]
_SHOWN = 20


def sharing(
    mode: Annotated[
        Mode,
        typer.Argument(
            help="private: its owner. group: the group of its folder. all: others read it too.",
        ),
    ],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Share the project with a group, all, or nobody.

    Everything that models writes into the project has modes that follow, whatever the umask; what
    is there already is adjusted. The group is that of the project's folder: `chgrp` it first. Only
    their owner may change the modes of files; when others have files here, this fails and says who
    has to run the same command.

    \b
    models project sharing group
    models project sharing private --dry-run
    """
    from modelyard.core.sharing import Sharing
    from modelyard.setup.share import share_project

    change = share_project(find_project(), Sharing(mode), dry_run=dry_run)
    if as_json:
        print_json(change)
    else:
        print_sharing(change)
    change.require_whole()


def print_sharing(change: SharingChange) -> None:
    """Print what was changed, or would be."""
    with_whom = {
        "private": "private to its owner",
        "group": f"shared with the group {change.group}",
        "all": f"shared with the group {change.group}, and readable by all",
    }[change.sharing]
    would = "would be" if change.dry_run else "is"
    print_text(f"The project {would} {with_whom}.")
    if not (change.adjusted or change.left):
        print_text("Every file and folder in it follows already.")
    if change.adjusted:
        verb = "Would adjust" if change.dry_run else "Adjusted"
        print_text(
            f"{verb} {counted(len(change.adjusted), 'file or folder', 'files and folders')}:"
        )
    shown = (*change.left, *change.adjusted)
    if shown:
        print_table(
            ["path", "mode", "becomes", "group", "owner"],
            [
                (
                    each.path,
                    each.mode,
                    each.wanted_mode if each in change.adjusted else "(left)",
                    each.wanted_group,
                    each.owner,
                )
                for each in shown[:_SHOWN]
            ],
        )
        if len(shown) > _SHOWN:
            print_text(f"and {len(shown) - _SHOWN:,} more (--json lists them)")
    if change.left and change.dry_run:
        foreign = {each.wanted_owner for each in change.left if each.wanted_owner != each.owner}
        how = "who have to run the same command"
        if foreign:
            how = f"and only root can give it to {foreign.pop()}"
        print_text(f"What is left belongs to others, {how}.")
