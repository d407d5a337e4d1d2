"""`models adapters rollback`: back to the version that was active before."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.adapters.promote import move_facts, move_words
from modelyard.cli.options import AdapterName, DryRun, Json, Reason, Wait
from modelyard.cli.render import print_json, print_text
from modelyard.core.layout import find_project


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

    \b
    JSON: {"adapter", "action": "rollback", "from_version": number or null, "to_version",
           "changed": bool, "dry_run": bool, "reason", "sequence": number or null,
           "skipped": [number of a removed version],
           "completed": bool, whether an interrupted rollback was completed instead};
          in a dry run "changed" is what would happen
    """
    from modelyard.adapters.rollback import roll_back

    done = roll_back(find_project(), name, to=to, reason=reason, dry_run=dry_run, wait_s=wait)
    if as_json:
        facts = move_facts(done.move, dry_run=dry_run)
        print_json(facts | {"skipped": list(done.skipped), "completed": done.completed})
        return
    if done.completed:
        print_text("An interrupted rollback was completed; run it again to go further back.")
    print_text(move_words(done.move, dry_run=dry_run))
    for number in done.skipped:
        print_text(f"  {name}@{number} was active in between, and was removed")
