"""`models adapters pin` and `unpin`: protect a version from gc, or stop protecting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.cli.options import DryRun, Json, Reason, VersionName, Wait
from modelyard.cli.render import print_json, print_text
from modelyard.core.layout import find_project

if TYPE_CHECKING:
    from modelyard.core.layout import Project


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
    from modelyard.adapters.gc import pin_version
    from modelyard.adapters.versions import resolve_number

    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        changed = not _is_pinned(project, adapter, number)
    else:
        changed = pin_version(project, adapter, number, reason=reason, wait_s=wait)
    if as_json:
        facts = {"name": f"{adapter}@{number}", "pinned": True}
        print_json(facts | {"changed": changed, "dry_run": dry_run})
    elif not changed:
        print_text(f"{adapter}@{number} is pinned already; nothing to do")
    elif dry_run:
        print_text(f"Would pin {adapter}@{number}")
    else:
        print_text(f"{adapter}@{number} is pinned: gc keeps it")


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
    from modelyard.adapters.gc import unpin_version
    from modelyard.adapters.versions import resolve_number

    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        changed = _is_pinned(project, adapter, number)
    else:
        changed = unpin_version(project, adapter, number, wait_s=wait)
    if as_json:
        facts = {"name": f"{adapter}@{number}", "pinned": False}
        print_json(facts | {"changed": changed, "dry_run": dry_run})
    elif not changed:
        print_text(f"{adapter}@{number} is not pinned; nothing to do")
    else:
        print_text(f"{'Would unpin' if dry_run else 'Unpinned'} {adapter}@{number}")


def _is_pinned(project: Project, adapter: str, number: int) -> bool:
    from modelyard.adapters.gc import load_pins

    return number in load_pins(project).get(adapter, {})
