"""`models adapters history`: which version was active when, and why."""

from __future__ import annotations

from dataclasses import asdict

from modelyard.cli.options import AdapterName, Json
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.layout import find_project
from modelyard.core.wording import day_and_time


def history(name: AdapterName, as_json: Json = False) -> None:
    """Show which version was active when, oldest first.

    \b
    models adapters history techcorp-demo

    \b
    JSON: [{"sequence", "adapter", "action", "from_version": number or null, "to_version",
            "reason", "moved_at"}]
    """
    from modelyard.adapters.pointer import pointer_history
    from modelyard.adapters.versions import require_numbers

    project = find_project()
    moves = pointer_history(project, name)
    if not moves:
        require_numbers(project, name)
    if as_json:
        rows = [asdict(move) for move in moves]
        print_json([{key: row[key] for key in row if key != "moved"} for row in rows])
        return
    if not moves:
        print_text(f"No version of {name} was ever active.")
        return
    table = [
        (
            day_and_time(move.moved_at),
            move.action,
            "" if move.from_version is None else f"@{move.from_version}",
            f"@{move.to_version}",
            move.reason or "",
        )
        for move in moves
    ]
    print_table(("when (UTC)", "what", ">from", ">to", "why"), table)
