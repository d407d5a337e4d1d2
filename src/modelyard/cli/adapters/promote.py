"""`models adapters promote`: make a version the active one, if its figures allow it."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.adapters.wording import Reason, VersionName, move_facts, move_words
from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_text, print_warning, showing_progress
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project


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
    from modelyard.adapters.promote import promote_judged
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
    move = promote_judged(
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
