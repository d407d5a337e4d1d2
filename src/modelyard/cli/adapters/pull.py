"""`models adapters pull`: bring a version from a central registry into the project."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.adapters.push import Remote, ending_at_once
from modelyard.cli.options import DryRun, Json, Wait
from modelyard.core.layout import find_project


def pull(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@V]", help="A version there; else the one in use, or the latest."
        ),
    ],
    remote: Remote,
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring a version from a central registry, proven.

    It appears only once every file is the one that was pushed, and fits its base where that is at
    hand. A pull that was cut off goes on. Nothing comes into use: `models adapters promote` does
    that. Credentials come from the environment: AWS_*, GOOGLE_*, AZURE_STORAGE_*.

    \b
    models adapters pull techcorp-demo s3://models/registry
    models adapters pull techcorp-demo@3 file:///srv/registry --dry-run

    \b
    JSON: {"adapter", "version", "remote", "changed": bool, "dry_run": bool, "digest", "path",
           "org", "size_bytes", "fetched_bytes", "base": {"name", "fingerprint"},
           "base_checked": bool, null when nothing changed}; in a dry run what would happen
    """
    from modelyard.adapters.registry.pull import plan_pull, pull_version
    from modelyard.adapters.registry.registry import find_remote_version, open_registry
    from modelyard.cli.render import print_json, print_text, showing_progress
    from modelyard.core.errors import InvalidInput

    project = find_project()
    registry = open_registry(remote)
    if registry is None:
        raise InvalidInput("there is no such folder", where=remote)
    with ending_at_once(), showing_progress() as progress:
        version = find_remote_version(registry, adapter)
        if dry_run:
            done = plan_pull(project, registry, version, progress)
        else:
            done = pull_version(project, registry, version, progress=progress, wait_s=wait)
    trained_on = version.manifest.base
    if as_json:
        print_json(
            {
                "adapter": version.adapter,
                "version": version.number,
                "remote": remote,
                "changed": done.changed,
                "dry_run": dry_run,
                "digest": f"sha256:{version.digest}",
                "path": project.show(done.path),
                "org": version.manifest.org,
                "size_bytes": version.size_bytes,
                "fetched_bytes": done.fetched_bytes,
                "base": {"name": trained_on.name, "fingerprint": trained_on.fingerprint},
                "base_checked": done.base is not None if done.changed else None,
            }
        )
        return
    if not done.changed:
        print_text(f"{version.name} is already here: {project.show(done.path)}")
        return
    sizes = f"{done.fetched_bytes / 1e6:,.1f} of {version.size_bytes / 1e6:,.1f} MB"
    if dry_run:
        print_text(
            f"Would pull {version.name} from {remote}: {sizes}, to {project.show(done.path)}"
        )
        return
    print_text(f"{version.name} is here, {sizes} fetched: {project.show(done.path)}")
    print_text(
        f"  every file as it was pushed{', and it fits ' + trained_on.name if done.base else ''}"
    )
    print_text(f"Bring it into use with `models adapters promote {version.name}`.")
