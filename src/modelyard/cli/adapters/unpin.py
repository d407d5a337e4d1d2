"""`models adapters unpin`: let gc have a version again."""

from __future__ import annotations

from modelyard.cli.adapters.wording import VersionName
from modelyard.cli.options import DryRun, Json, Wait


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
    from modelyard.adapters.pins import load_pins, unpin_version
    from modelyard.adapters.versions import resolve_number
    from modelyard.cli.render import print_json, print_text
    from modelyard.core.layout import find_project

    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        changed = number in load_pins(project).get(adapter, {})
    else:
        changed = unpin_version(project, adapter, number, wait_s=wait)
    if as_json:
        facts = {"name": f"{adapter}@{number}", "pinned": False}
        print_json(facts | {"changed": changed, "dry_run": dry_run})
    elif not changed:
        print_text(f"{adapter}@{number} is not pinned; nothing to do")
    else:
        print_text(f"{'Would unpin' if dry_run else 'Unpinned'} {adapter}@{number}")
