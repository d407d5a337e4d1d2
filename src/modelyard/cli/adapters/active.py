"""`models adapters promote`, `rollback` and `history`: which version is active."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

from modelyard.adapters.pointer import PointerMove, pointer_history
from modelyard.adapters.versions import named_adapter, require_numbers, resolve_version
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import AdapterName, DryRun, Json, Reason, VersionName, Wait
from modelyard.cli.render import print_json, print_table, print_text, print_warning
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.wording import day_and_time
from modelyard.results.json_form import published, result_of


@dataclass(frozen=True, kw_only=True)
class ActiveVersionChange:
    """A change of the active version."""

    adapter: str
    """The adapter."""
    action: Literal["promote", "rollback"]
    """What changes it."""
    from_version: int | None
    """The number of the active version before; null when none was."""
    to_version: int
    """The number of the active version after."""
    changed: bool
    """Whether it changed; in a dry run, whether it would."""
    dry_run: bool
    """Whether nothing was changed."""
    reason: str | None
    """Why, in the words of the user or of the gate."""
    sequence: int | None
    """Its number among all such changes in the project; null when nothing changed."""


@dataclass(frozen=True, kw_only=True)
class PastChange:
    """One change of the active version, as the history has it."""

    sequence: int
    """Its number among all such changes in the project."""
    adapter: str
    """The adapter."""
    action: Literal["promote", "rollback"]
    """What changed it."""
    from_version: int | None
    """The number of the active version before; null when none was."""
    to_version: int
    """The number of the active version after."""
    reason: str | None
    """Why."""
    moved_at: str
    """When, UTC."""


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """A return to a version that was active before."""

    change: ActiveVersionChange = field(metadata=published(inline=True))
    skipped: tuple[int, ...]
    """Versions that were active in between, and were removed."""
    completed: bool
    """Whether an interrupted rollback was completed instead."""


def promote(
    name: VersionName,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Promote it although its figures are worse; needs --reason. Never for damage.",
        ),
    ] = False,
    reason: Reason = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Make a version the active one, if its figures allow it.

    Refused when its files differ from those registered. Refused with exit code 4 and the figures
    when it is not better than its base, or worse than the active version.

    \b
    models adapters promote techcorp-demo@2
    models adapters promote techcorp-demo@2 --force --reason "shorter answers, agreed with HR"
    """
    from modelyard.adapters.promote import promote_if_allowed
    from modelyard.weights.local import locate_base

    project = find_project()
    version = resolve_version(project, name)
    base_name = version.manifest.base.name
    try:
        with showing_progress() as progress:
            base = locate_base(project, base_name, progress=progress)
        missing = "not available locally"
    except ModelyardError as error:
        base, missing = None, str(error)
    move = promote_if_allowed(
        project, version, base=base, force=force, reason=reason, dry_run=dry_run, wait_s=wait
    )
    if base is None and move.moved:
        print_warning(f"{base_name}: {missing}, so only the version's own files were checked")
    if as_json:
        print_json(_change(move, dry_run=dry_run))
        return
    print_text(_move_words(move, dry_run=dry_run))
    if move.moved:
        print_text(f"  {move.reason}")
        if move.from_version is not None and not dry_run:
            print_text(f"  undo with `models adapters rollback {move.adapter}`")


def rollback(
    name: AdapterName,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="V",
            min=1,
            help="Go to this version, which must have been active before.",
        ),
    ] = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Make the version that was active before active again.

    The history decides which version that is. A second rollback goes back one more step; versions
    that were removed are skipped, and a damaged one is refused. Needs neither the base nor figures.

    \b
    models adapters rollback techcorp-demo
    models adapters rollback techcorp-demo --to 1 --reason "wrong number of holidays"
    """
    from modelyard.adapters.rollback import roll_back

    adapter = named_adapter(name, hint="name the adapter alone, and the version to go to with --to")
    done = roll_back(find_project(), adapter, to=to, reason=reason, dry_run=dry_run, wait_s=wait)
    if as_json:
        print_json(result_of(RolledBack, done, change=_change(done.move, dry_run=dry_run)))
        return
    if done.completed:
        print_text("An interrupted rollback was completed; run it again to go further back.")
    print_text(_move_words(done.move, dry_run=dry_run))
    for number in done.skipped:
        print_text(f"  {adapter}@{number} was active in between, and was removed")


def history(name: AdapterName, as_json: Json = False) -> None:
    """Show which version was active when, oldest first.

    \b
    models adapters history techcorp-demo
    """
    project, adapter = find_project(), named_adapter(name)
    moves = pointer_history(project, adapter)
    if not moves:
        require_numbers(project, adapter)
    if as_json:
        print_json([result_of(PastChange, move) for move in moves])
    elif not moves:
        print_text(f"No version of {adapter} was ever active.")
    else:
        print_table(
            ("when (UTC)", "what", ">from", ">to", "why"),
            [
                (
                    day_and_time(move.moved_at),
                    move.action,
                    "" if move.from_version is None else f"@{move.from_version}",
                    f"@{move.to_version}",
                    move.reason or "",
                )
                for move in moves
            ],
        )


def _change(move: PointerMove, *, dry_run: bool) -> ActiveVersionChange:
    return result_of(ActiveVersionChange, move, changed=move.moved, dry_run=dry_run)


def _move_words(move: PointerMove, *, dry_run: bool) -> str:
    """What the change did, or would do, in one line."""
    to = f"{move.adapter}@{move.to_version}"
    if not move.moved:
        return f"{to} is already active; nothing to do"
    before = "nothing" if move.from_version is None else f"{move.adapter}@{move.from_version}"
    done = f"Would make {to} active" if dry_run else f"{to} is active"
    return f"{done}, instead of {before}"
