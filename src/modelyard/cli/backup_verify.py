"""`models backup verify` and `drill`: whether a backup would bring everything back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import BackupKey, Json, Repo
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.cli.repositories import opened_repository
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, day_and_time, megabytes, visible_line

if TYPE_CHECKING:
    from modelyard.backup.drill import DrillResult
    from modelyard.backup.verify import VerifiedRepository

_SHOWN_PATHS = 5


def verify(
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="P%",
            help="Also read this share of the packs in full, each time another one.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also read every pack in full.")] = False,
    repo: Repo = None,
    key: BackupKey = None,
    as_json: Json = False,
) -> None:
    """Check a repository, and say what damage touches.

    Always read are all indexes, snapshots and trees, and the names and sizes of all packs: what is
    missing or too short is found. What was changed inside a pack is found where the pack is read:
    --all reads each, --sample some. Exit code 1 when something is wrong.

    \b
    models backup verify
    models backup verify --sample 10%
    models backup verify --all --repo s3://backups/techcorp --json
    """
    from modelyard.backup.verify import verify_repository

    if sample is not None and every:
        raise InvalidInput("--sample and --all are two ways", hint="leave one out")
    share = 1.0 if every else _share(sample)
    repository = opened_repository(repo, key)
    with showing_progress() as progress:
        found = verify_repository(repository, progress, share=share)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found.ok:
        raise ModelyardError(
            f"{counted(len(found.damages), 'object')} of the repository "
            f"{'is' if len(found.damages) == 1 else 'are'} damaged or missing",
            where=found.repository,
            hint="bring them back from a copy of the repository; without one, remove damaged packs "
            "and run `models backup`: it stores again what the project still has",
        )


def drill(
    snapshot: Annotated[
        str,
        typer.Argument(
            metavar="[SNAPSHOT]", help="A snapshot, or the beginning of its name. Default: latest."
        ),
    ] = "latest",
    scratch: Annotated[
        Path | None,
        typer.Option(
            "--scratch",
            metavar="DIR",
            help="The folder on whose disk it is restored. Default: that of temporary files.",
        ),
    ] = None,
    repo: Repo = None,
    key: BackupKey = None,
    as_json: Json = False,
) -> None:
    """Restore a snapshot to a scratch folder, and try it.

    Every file is compared by its hash, each adapter verified, every config loaded in every
    environment, each index read and searched, and an active adapter asked a question, on this
    machine only. The folder is removed again. The date is recorded, and `models monitor` shows how
    long ago the last drill went well. What this machine cannot try, such as an answer without the
    base, is not counted as failed. Exit code 1 when something fails.

    \b
    models backup drill
    models backup drill 20261130 --repo s3://backups/techcorp --scratch /mnt/scratch
    """
    from modelyard.backup.drill import run_drill
    from modelyard.records.backup_run import note_backup_run

    repository = opened_repository(repo, key)
    with showing_progress() as progress:
        result = run_drill(repository, snapshot, progress, scratch=scratch)
    with suppress(ModelyardError):  # there may be no project here any more
        note_backup_run(find_project(), "drill", result.repository, result.snapshot, ok=result.ok)
    if as_json:
        print_json(result)
    else:
        _print_drill(result)
    if not result.ok:
        failed = [step.step for step in result.steps if step.verdict == "failed"]
        raise ModelyardError(
            f"the drill of {result.snapshot} failed: {', '.join(failed)}",
            hint="`models backup verify --all` says whether the repository is damaged"
            if "files" in failed
            else "every file is as it was backed up, so look for it in the project too: "
            "`models adapters verify --all`, `models validate-config`",
        )


def _share(sample: str | None) -> float:
    if sample is None:
        return 0.0
    try:
        share = float(sample.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InvalidInput(f"--sample {sample!r} is no share", hint="such as 10%")
    return share


def _print(found: VerifiedRepository) -> None:
    what = f"{counted(found.snapshots, 'snapshot')}, {counted(found.packs, 'pack')}"
    read = f"read {counted(found.read_packs, 'pack')} in full, {megabytes(found.read_bytes)}"
    if not found.read_packs:
        read = "no pack was read in full: --all reads each, --sample some"
    print_text(f"{found.repository}: {what}, {megabytes(found.bytes)}; {read}.")
    if found.ok:
        print_text("Nothing is missing, and nothing that was read is damaged.")
        return
    for damage in found.damages:
        print_text(f"{damage.object}: {damage.problem}")
        for one in damage.touches:
            shown = ", ".join(map(visible_line, one.paths[:_SHOWN_PATHS]))
            more = f" and {one.items - _SHOWN_PATHS:,} more" if one.items > _SHOWN_PATHS else ""
            print_text(f"  {one.snapshot} cannot bring back {shown}{more}")
        if not damage.touches:
            print_text("  no snapshot needs it")


def _print_drill(result: DrillResult) -> None:
    size = f"{counted(result.files, 'file')}, {megabytes(result.bytes)}"
    made = f"made on {day_and_time(result.created_at)} UTC"
    print_text(f"Restored {result.snapshot}, {made}: {size}.")
    rows = [
        (step.step, step.verdict.replace("_", " "), "\n".join((step.detail, *step.problems)))
        for step in result.steps
    ]
    print_table(("tried", "verdict", "what was found"), rows)
