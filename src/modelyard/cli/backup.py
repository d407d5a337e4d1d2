"""`models backup`: make a snapshot of the project."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import BackupKey, DryRun, Json, Recipients, Repo, Wait
from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from modelyard.backup.snapshot import SnapshotResult

ALL = "all"
_LONGEST_TAG = 100


def backup(
    models: Annotated[
        str,
        typer.Option(
            "--models", metavar="all|NAME,...", help="The adapters whose versions are stored."
        ),
    ] = ALL,
    include_embeddings: Annotated[
        bool, typer.Option("--include-embeddings", help="Store the search indexes too.")
    ] = False,
    include_datasets: Annotated[
        bool, typer.Option("--include-datasets", help="Store datasets/ too.")
    ] = False,
    include_experiments: Annotated[
        bool,
        typer.Option("--include-experiments", help="Store experiments/ too, with checkpoints."),
    ] = False,
    include_telemetry: Annotated[
        bool,
        typer.Option(
            "--include-telemetry",
            help="Store the records of answers too, and the prompts where they are recorded.",
        ),
    ] = False,
    repo: Repo = None,
    key: BackupKey = None,
    recipient: Recipients = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="WORD", help="A word to find the snapshot by.")
    ] = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Make a snapshot of the project, to restore it from.

    It is a state that really existed: the versions of the adapters and which are active, cards,
    configs, what is deployed and was, feedback, and the ledger of budgets. What has not changed
    since the last snapshot is neither read nor stored again. Exits with 1 when something that was
    selected is not stored.

    \b
    models backup --models all --include-embeddings
    models backup --repo s3://backups/techcorp --key file:~/.config/backup-key --tag nightly
    """
    from modelyard.adapters.versions import named_adapter, require_numbers
    from modelyard.backup.encryption import read_backup_key
    from modelyard.backup.repository import NoRepository, open_repository, repository_url
    from modelyard.backup.selection import Selection
    from modelyard.backup.snapshot import make_snapshot, plan_snapshot
    from modelyard.cli.job_progress import showing_progress
    from modelyard.cli.render import print_json
    from modelyard.core.errors import InvalidInput
    from modelyard.core.layout import find_project
    from modelyard.records.backup_run import note_backup_run

    project = find_project()
    if tag is not None and (not 0 < len(tag) <= _LONGEST_TAG or not tag.isprintable()):
        raise InvalidInput(
            f"a tag is one line of up to {_LONGEST_TAG} characters",
            where="--tag",
            hint="shorten it" if len(tag) > _LONGEST_TAG else "write a word, such as nightly",
        )
    names = [name.strip() for name in models.split(",")]
    selection = Selection(
        models=None if models == ALL else tuple(dict.fromkeys(map(named_adapter, names))),
        include_embeddings=include_embeddings,
        include_datasets=include_datasets,
        include_experiments=include_experiments,
        include_telemetry=include_telemetry,
    )
    for name in selection.models or ():
        require_numbers(project, name)  # before a repository is made
    secret = read_backup_key(key, project)
    url = repository_url(repo, project)
    repository = None
    with suppress(NoRepository):
        repository = open_repository(repo, project, key=secret, recipients=recipient or ())
    with showing_progress() as progress:
        if dry_run:
            result = plan_snapshot(project, repository, selection, url=url, progress=progress)
        else:
            if repository is None:
                encrypted = "encrypted" if secret else "not encrypted (--key encrypts a new one)"
                progress.stage(f"make a repository at {url}, {encrypted}")
                repository = open_repository(
                    repo, project, make=True, key=secret, recipients=recipient or ()
                )
            result = make_snapshot(
                project, repository, selection, tag=tag, progress=progress, wait_s=wait
            )
            note_backup_run(
                project, "backup", result.repository, result.snapshot or "", ok=not result.skipped
            )
    if as_json:
        print_json(result)
    else:
        _show(result)
    _warn(result)
    if result.skipped:
        sys.exit(ModelyardError.exit_code)


def _show(result: SnapshotResult) -> None:
    from modelyard.cli.render import print_table, print_text
    from modelyard.core.wording import counted, megabytes, visible_line

    read = f"{counted(result.read_files, 'file')}, {megabytes(result.read_bytes)}"
    held = f"{counted(result.files, 'file')}, {megabytes(result.bytes)}"
    if result.dry_run:
        print_text(f"A snapshot would hold {held}; {read}, new or changed, would be read.")
        if result.left_out:
            print_table(
                ("left out", "because"),
                [(visible_line(one.path), one.reason) for one in result.left_out],
            )
    else:
        print_text(f"Made the snapshot {result.snapshot} of {held}.")
        print_text(
            f"{read}, new or changed, were read; {megabytes(result.stored_bytes)} were added to "
            f"{result.repository}."
        )
        places = counted(len(result.left_out), "place is", "places are")
        print_text(f"{places} left out on purpose; `models backup --dry-run` names them.")


def _warn(result: SnapshotResult) -> None:
    """Name what is not stored, and say when one lost disk loses the backup too."""
    from modelyard.cli.render import print_warning
    from modelyard.core.wording import counted, visible_line

    for one in result.skipped:
        print_warning(f"{visible_line(one.path)}: {one.reason}")
    if result.skipped:
        what = counted(len(result.skipped), "thing is", "things are")
        print_warning(f"{what} not in the snapshot, or not as they should be")
    if result.same_disk:
        print_warning(
            "THE BACKUP IS ON THE SAME DISK AS THE PROJECT: a disk that is lost takes both with "
            "it. Name another place with --repo, such as s3://BUCKET/PREFIX or file:///OTHER/DISK"
        )
