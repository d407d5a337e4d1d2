"""`models adapters gc`: remove old versions that nothing needs."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, megabytes


def gc(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Adapters; by default, all.")
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="How many of the newest to keep.")
    ] = 3,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Remove old versions that nothing needs.

    Keeps the newest versions, the active one, the one that a rollback would go to, and pinned ones.
    The number of a removed version is never used again.

    \b
    models adapters gc --dry-run
    models adapters gc techcorp-demo --keep 2

    \b
    JSON: {"dry_run": bool, "freed_bytes",
           "adapters": [{"adapter", "removed": [{"version", "size_bytes"}],
                         "kept": [{"version", "why"}]}]}
    """
    from modelyard.adapters.gc import collect_garbage
    from modelyard.adapters.versions import list_adapters

    project = find_project()
    chosen = list(dict.fromkeys(names or list_adapters(project)))
    # Plan all before removing any, so that a bad name removes nothing.
    done = [collect_garbage(project, name, keep=keep, dry_run=True) for name in chosen]
    if not dry_run:
        done = [collect_garbage(project, name, keep=keep, wait_s=wait) for name in chosen]
    freed = sum(collection.freed_bytes for collection in done)
    if as_json:
        adapters = [
            {
                "adapter": collection.adapter,
                "removed": [
                    {"version": v, "size_bytes": size} for v, size in collection.removed.items()
                ],
                "kept": [{"version": v, "why": why} for v, why in collection.kept.items()],
            }
            for collection in done
        ]
        print_json({"dry_run": dry_run, "freed_bytes": freed, "adapters": adapters})
        return
    removed = sum(len(collection.removed) for collection in done)
    if not removed:
        print_text("There is nothing to remove.")
        return
    gone = "would go" if dry_run else "removed"
    rows: list[tuple[str, str, str]] = []
    for collection in filter(lambda collection: collection.removed, done):
        for number in sorted([*collection.removed, *collection.kept]):
            size = megabytes(collection.removed[number]) if number in collection.removed else ""
            what = f"kept: {collection.kept[number]}" if number in collection.kept else gone
            rows.append((f"{collection.adapter}@{number}", size, what))
    print_table(("version", ">size", ""), rows)
    print_text(f"{counted(removed, 'version')} {gone}, {megabytes(freed)}.")
