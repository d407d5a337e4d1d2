"""`models adapters promote`: make a version the active one, if its figures allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.options import DryRun, Json, Reason, VersionName, Wait
from modelyard.cli.render import print_json, print_text, print_warning, showing_progress
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project

if TYPE_CHECKING:
    from modelyard.adapters.pointer import PointerMove


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

    \b
    JSON: {"adapter", "action": "promote", "from_version": number or null, "to_version",
           "changed": bool, "dry_run": bool, "reason", "sequence": number or null};
          in a dry run "changed" is what would happen
    """
    from modelyard.adapters.promote import promote_if_allowed
    from modelyard.adapters.versions import resolve_version
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
        print_json(move_facts(move, dry_run=dry_run))
        return
    print_text(move_words(move, dry_run=dry_run))
    if move.moved:
        print_text(f"  {move.reason}")
        if move.from_version is not None and not dry_run:
            print_text(f"  undo with `models adapters rollback {move.adapter}`")


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
