"""Arguments and phrases that the commands on adapters share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from modelyard.adapters.pointer import PointerMove

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


def move_facts(move: PointerMove, *, dry_run: bool) -> dict[str, Any]:
    """A change of the active version, with the same keys in every command's JSON."""
    return {
        "adapter": move.adapter,
        "action": move.action,
        "from_version": move.from_version,
        "to_version": move.to_version,
        "changed": move.moved,
        "dry_run": dry_run,
        "reason": move.reason,
        "sequence": move.sequence,
    }


def move_words(move: PointerMove, *, dry_run: bool) -> str:
    """What the change did, or would do, in one line."""
    to = f"{move.adapter}@{move.to_version}"
    if not move.moved:
        return f"{to} is already active; nothing to do"
    before = "nothing" if move.from_version is None else f"{move.adapter}@{move.from_version}"
    if dry_run:
        return f"Would make {to} active, instead of {before}"
    return f"{to} is active, instead of {before}"
