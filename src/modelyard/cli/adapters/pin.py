"""`models adapters pin`: keep a version from gc."""

from __future__ import annotations

from modelyard.cli.adapters.wording import Reason, VersionName
from modelyard.cli.options import DryRun, Json, Wait


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
    from modelyard.adapters.pins import load_pins, pin_version
    from modelyard.adapters.versions import resolve_number
    from modelyard.cli.render import print_json, print_text
    from modelyard.core.layout import find_project

    project = find_project()
    adapter, number = resolve_number(project, name)
    if dry_run:
        changed = number not in load_pins(project).get(adapter, {})
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
        print_text(f"{adapter}@{number} is pinned: gc leaves it alone")
