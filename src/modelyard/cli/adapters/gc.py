"""`models adapters gc`, `pin` and `unpin`: remove old versions, and protect some of them."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.adapters.gc import collect_garbage, load_pins, pin_version, unpin_version
from modelyard.adapters.versions import list_adapters, resolve_number
from modelyard.cli.options import DryRun, Json, Reason, VersionName, Wait
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
    project = find_project()
    chosen = list(dict.fromkeys(names or list_adapters(project)))
    # Plan all before removing any, so that a bad name removes nothing.
    done = [collect_garbage(project, name, keep=keep, dry_run=True) for name in chosen]
    if not dry_run:
        done = [collect_garbage(project, name, keep=keep, wait_s=wait) for name in chosen]
    freed = sum(collection.freed_bytes for collection in done)
    removed = sum(len(collection.removed) for collection in done)
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
    elif not removed:
        print_text("There is nothing to remove.")
    else:
        gone = "would go" if dry_run else "removed"
        rows: list[tuple[str, str, str]] = []
        for collection in done:
            outcomes = {v: (megabytes(size), gone) for v, size in collection.removed.items()}
            if outcomes:
                outcomes |= {v: ("", f"kept: {why}") for v, why in collection.kept.items()}
            rows += [(f"{collection.adapter}@{v}", *outcomes[v]) for v in sorted(outcomes)]
        print_table(("version", ">size", ""), rows)
        print_text(f"{counted(removed, 'version')} {gone}, {megabytes(freed)}.")


def pin(
    name: VersionName,
    reason: Reason = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Keep a version, whatever `gc` is asked to remove.

    \b
    models adapters pin techcorp-demo@1 --reason "audited in March"

    \b
    JSON: {"name", "pinned": true, "changed": bool, "dry_run": bool};
          in a dry run "changed" is what would happen
    """
    _set_pin(name, pinned=True, reason=reason, dry_run=dry_run, wait=wait, as_json=as_json)


def unpin(
    name: VersionName, dry_run: DryRun = False, wait: Wait = 0.0, as_json: Json = False
) -> None:
    """Let `gc` remove a version again; removes nothing itself.

    \b
    models adapters unpin techcorp-demo@1

    \b
    JSON: {"name", "pinned": false, "changed": bool, "dry_run": bool};
          in a dry run "changed" is what would happen
    """
    _set_pin(name, pinned=False, dry_run=dry_run, wait=wait, as_json=as_json)


def _set_pin(
    name: str, *, pinned: bool, reason: str | None = None, dry_run: bool, wait: float, as_json: bool
) -> None:
    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        pins = load_pins(project).get(adapter, {})
        changed = pinned != (number in pins) or (reason not in (None, pins.get(number)))
    elif pinned:
        changed = pin_version(project, adapter, number, reason=reason, wait_s=wait)
    else:
        changed = unpin_version(project, adapter, number, wait_s=wait)
    version = f"{adapter}@{number}"
    if as_json:
        print_json({"name": version, "pinned": pinned, "changed": changed, "dry_run": dry_run})
    elif not changed:
        print_text(f"{version} is {'pinned already' if pinned else 'not pinned'}; nothing to do")
    elif dry_run:
        print_text(f"Would {'pin' if pinned else 'unpin'} {version}")
    else:
        print_text(f"{version} is pinned: gc keeps it" if pinned else f"Unpinned {version}")
