"""`models adapters registry delete` and `prune`: versions go, and later their files."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.adapters.registry import Remote, ending_at_once
from modelyard.cli.adapters.remote import open_remote
from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_text
from modelyard.core.errors import InvalidInput
from modelyard.core.wording import counted, day_and_time, megabytes


def delete_remote(
    name: Annotated[str, typer.Argument(metavar="NAME@V", help="A version in the registry.")],
    remote: Remote,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete a version from a registry.

    From then on it is neither listed nor pulled, and no other version gets its number. `latest`
    moves to the highest version that is left; a version with another tag is refused. Copies in
    projects stay, and `models adapters push NAME@V REMOTE --force` brings it back. Files that no
    other version needs go with `models adapters registry prune REMOTE`.

    \b
    models adapters registry delete techcorp-demo@2 s3://models/registry --dry-run
    """
    from modelyard.adapters.registry.prune import delete_version

    with ending_at_once():
        done = delete_version(open_remote(remote), name, dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    version = f"{done.adapter}@{done.version}"
    if not done.changed:
        print_text(f"{version} is deleted from {remote} already; nothing to do")
        return
    print_text(f"{'in a real run, ' if dry_run else ''}{version} is deleted from {remote}")
    latest = f"points to {done.adapter}@{done.latest}" if done.latest else "is removed"
    print_text(f"  latest {latest}; `models adapters registry prune {remote}` frees its files")


def prune_remote(
    remote: Remote,
    grace: Annotated[
        str,
        typer.Option(
            "--grace",
            metavar="DURATION",
            help="How long files that were given up are kept; 24 hours at least.",
        ),
    ] = "24 hours",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete files of a registry that no version needs.

    Those are files of deleted versions and of pushes that never ended. They are not deleted now:
    they are written down as given up, and a later prune deletes them after --grace. So prune may
    run at any time, beside pushes, pulls and other prunes, and needs no lock. While the record of a
    version is damaged, nothing is deleted.

    \b
    models adapters registry prune s3://models/registry
    models adapters registry prune s3://models/registry --grace "7 days" --dry-run
    """
    from modelyard.adapters.registry.prune import LEAST_GRACE_S, prune_registry
    from modelyard.settings.units import DURATION

    grace_s = DURATION.parse(grace)
    if grace_s is None or grace_s < LEAST_GRACE_S:
        raise InvalidInput(
            f"--grace {grace!r} is not a duration of 24 hours or more",
            hint="a pull that is under way may need what is given up now; such as '3 days'",
        )
    with ending_at_once():
        done = prune_registry(open_remote(remote), grace_s=grace_s, dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    would = "Would delete" if dry_run else "Deleted"
    deleted = f"{counted(done.deleted_files, 'file')}, {megabytes(done.deleted_bytes)}"
    print_text(f"{would} {deleted}.")
    if done.waiting_until:
        waiting = f"{counted(done.waiting_files, 'file')}, {megabytes(done.waiting_bytes)}"
        print_text(
            f"Given up, {done.given_up_files} of them now: {waiting}; a prune after "
            f"{day_and_time(done.waiting_until)} deletes them."
        )
