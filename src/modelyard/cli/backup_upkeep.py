"""`models backup prune` and `copy`: what becomes of snapshots later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import BackupKey, DryRun, Json, Recipients, Repo
from modelyard.cli.repositories import opened_repository, project_or_here
from modelyard.core.errors import InvalidInput

if TYPE_CHECKING:
    from modelyard.backup.copying import CopyResult
    from modelyard.backup.prune import PruneResult

_SHORTEST_GRACE = "24 hours"


def prune(
    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="N", min=0, help="Keep the newest N.")
    ] = 0,
    keep_daily: Annotated[
        int,
        typer.Option("--keep-daily", metavar="N", min=0, help="Keep the newest of N days (UTC)."),
    ] = 0,
    keep_weekly: Annotated[
        int,
        typer.Option("--keep-weekly", metavar="N", min=0, help="Keep the newest of N weeks."),
    ] = 0,
    keep_monthly: Annotated[
        int,
        typer.Option("--keep-monthly", metavar="N", min=0, help="Keep the newest of N months."),
    ] = 0,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="WORD", help="Look only at snapshots with this tag."),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            "--grace",
            metavar="DURATION",
            help="How long what was found unused is kept; 24 hours at least.",
        ),
    ] = _SHORTEST_GRACE,
    repo: Repo = None,
    key: BackupKey = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove old snapshots, and what no snapshot needs.

    A snapshot is kept when one rule keeps it. The rules are applied to each machine, project folder
    and choice of models for itself, so that a small snapshot takes the place of no other. Days
    without a snapshot do not count.

    What only removed snapshots needed is not deleted now: it is written down, and a later prune
    deletes it after --grace, if it is still unused. So prune may run at any time, beside backups
    and other prunes, and nothing has to be unlocked after a crash. While anything in the repository
    is missing or damaged, nothing is deleted.

    \b
    models backup prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12
    models backup prune --keep-last 3 --tag before-release --dry-run
    """
    from modelyard.backup.prune import LEAST_GRACE_S
    from modelyard.backup.prune import prune as prune_repository
    from modelyard.backup.retention import Keep
    from modelyard.cli.job_progress import showing_progress
    from modelyard.cli.render import print_json
    from modelyard.settings.units import DURATION

    grace_s = DURATION.parse(grace)
    if grace_s is None or grace_s < LEAST_GRACE_S:
        raise InvalidInput(
            f"--grace {grace!r} is not a duration of 24 hours or more",
            hint="a backup that is under way may rely on what is unused now; such as '3 days'",
        )
    keep = Keep(last=keep_last, daily=keep_daily, weekly=keep_weekly, monthly=keep_monthly, tag=tag)
    repository = opened_repository(repo, key)
    with showing_progress() as progress:
        result = prune_repository(
            repository, keep, progress=progress, grace_s=grace_s, dry_run=dry_run
        )
    if as_json:
        print_json(result)
    else:
        _show_pruned(result)


def copy(
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="The other repository; made if there is none."),
    ],
    snapshots: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SNAPSHOT]...",
            help="Snapshots, beginnings of their ids, or `latest`. Default: all.",
        ),
    ] = None,
    repo: Repo = None,
    key: BackupKey = None,
    to_key: Annotated[
        str | None,
        typer.Option(
            "--to-key",
            metavar="env:NAME|file:PATH",
            help="Where the key of the other repository is, which is encrypted then. Default: the "
            "key of this one.",
        ),
    ] = None,
    recipient: Recipients = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Copy snapshots to another repository.

    Only what the other one lacks is read, checked and sent, and it is encrypted with the key of the
    other one. A copy has an id of its own where there is a key. Killed and run again, it goes on.

    \b
    models backup copy --to s3://elsewhere/techcorp
    models backup copy latest --to file:///mnt/usb/backups --to-key file:~/.config/usb-key
    """
    from modelyard.backup.copying import copy_snapshots
    from modelyard.backup.encryption import read_backup_key
    from modelyard.backup.repository import open_repository
    from modelyard.cli.job_progress import showing_progress
    from modelyard.cli.render import print_json

    source = opened_repository(repo, key)
    project = project_or_here(needed=repo is None)
    secret = read_backup_key(to_key or key, project)
    target = open_repository(to, project, make=not dry_run, key=secret, recipients=recipient or ())
    with showing_progress() as progress:
        result = copy_snapshots(source, target, snapshots or [], progress=progress, dry_run=dry_run)
    if as_json:
        print_json(result)
    else:
        _show_copied(result)


def _show_pruned(result: PruneResult) -> None:
    from modelyard.cli.render import print_note, print_table, print_text, print_warning
    from modelyard.core.wording import counted, day_and_time, megabytes

    rows = [(one.snapshot, "kept", ", ".join(one.rules)) for one in result.kept]
    rows += [
        (id, "would be removed" if result.dry_run else "removed", "no rule keeps it")
        for id in result.removed
    ]
    print_table(("snapshot", "", "because"), sorted(rows))
    would = "Would delete" if result.dry_run else "Deleted"
    print_text(
        f"{would} {counted(result.deleted_packs, 'pack')}, {megabytes(result.deleted_bytes)}, that "
        "an earlier prune had found unused."
    )
    if result.repacked_packs:
        print_text(
            f"{counted(result.repacked_packs, 'pack')}, small or little used, "
            + (
                "would be stored again together."
                if result.dry_run
                else f"{'was' if result.repacked_packs == 1 else 'were'} stored again as "
                f"{megabytes(result.repacked_bytes)}."
            )
        )
    if result.pending_until:
        print_note(
            f"{counted(result.pending_packs, 'pack')}, {megabytes(result.pending_bytes)}, "
            f"{'is' if result.pending_packs == 1 else 'are'} unused: a prune after "
            f"{day_and_time(result.pending_until)} UTC deletes what still is."
        )
    for work in result.waits_for:
        print_warning(f"what is due is not deleted before {work} has ended")


def _show_copied(result: CopyResult) -> None:
    from modelyard.cli.render import print_note, print_table
    from modelyard.core.wording import counted, megabytes

    words = {True: "to be copied" if result.dry_run else "copied", False: "was there"}
    print_table(
        ("snapshot", "", "there"),
        [(one.snapshot, words[one.copied], one.target or "") for one in result.snapshots],
    )
    count = counted(sum(one.copied for one in result.snapshots), "snapshot")
    if result.dry_run:
        print_note(
            f"{count} would be copied; {result.target} lacks {megabytes(result.read_bytes)}."
        )
    else:
        print_note(
            f"{count} copied to {result.target}: {megabytes(result.read_bytes)} that it lacked, "
            f"{megabytes(result.stored_bytes)} as stored."
        )
