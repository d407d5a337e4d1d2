"""`models restore`: a snapshot into a new folder, or over the project."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import BackupKey, DryRun, Json, Repo, Wait
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project

if TYPE_CHECKING:
    from modelyard.backup.in_place import RestoredInPlace
    from modelyard.backup.restore import Restored

_SHOWN = 20
_STATE_DB = ".models/state.db"
_DAMAGED_STATE = "it is damaged, and that of the snapshot takes its place"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedDiscarded:
    """What was kept of earlier restores, and is removed."""

    folders: tuple[str, ...]
    """The folders that held it, from the project's root."""
    dry_run: bool
    """Whether nothing was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What of a snapshot is restored."""

    models: Sequence[str] | None
    only: Sequence[str] | None
    without: Sequence[str]


def restore(
    snapshot: Annotated[
        str | None,
        typer.Argument(
            metavar="SNAPSHOT", help="A snapshot, the beginning of its name, or `latest`."
        ),
    ] = None,
    repo: Repo = None,
    key: BackupKey = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="NAME,...",
            help="Only versions and links of these adapters; over the project their history too.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PATH",
            help="Only this path of the project, with what is below it; can be given several "
            "times, and adds to --models.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="PATH",
            help="Leave this path out, with what is below it, such as what is damaged; can be "
            "given several times. Of a version the whole version is left out.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="The new folder. Default: restored-SNAPSHOT in the current folder.",
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Restore over the project, and keep what it had.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Put back what the newest restore over the project replaced."),
    ] = False,
    discard_replaced: Annotated[
        bool,
        typer.Option(
            "--discard-replaced", help="Remove what restores over the project replaced and kept."
        ),
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Restore a snapshot to a new folder or over the project.

    Every block is checked against its hash before it is written, and a new folder appears when all
    of it is there.

    With --in-place only what differs is replaced, when all of it is staged and checked. What was
    there stays in .models/restores until --discard-replaced, and --undo puts it back. Never undone
    by it: what was spent, whom `models org forget` removed, prompts that were removed, versions
    that were made since. Killed at any time, it has changed nothing, or the next command completes
    it.

    \b
    models restore latest --to ../recovered
    models restore latest --in-place --models techcorp-demo
    models restore 20261130T0312 --only configs --only .models/state.db --in-place
    models restore --undo
    """
    from modelyard.cli.render import print_json

    result: Restored | RestoredInPlace | ReplacedDiscarded
    chosen = {"--to": to is not None, "--in-place": in_place}
    chosen |= {"--undo": undo, "--discard-replaced": discard_replaced}
    ways = [name for name, is_given in chosen.items() if is_given]
    if len(ways) > 1:
        raise InvalidInput(f"{' and '.join(ways)} are different things", hint="give one of them")
    if undo or discard_replaced:
        if snapshot or models or only or without:
            raise InvalidInput(f"{ways[0]} takes no snapshot and no choice of what is restored")
        result = _of_kept(discard=discard_replaced, dry_run=dry_run, wait_s=wait)
    elif snapshot is None:
        raise InvalidInput("which snapshot?", hint="`latest`, or one of `models backup list`")
    else:
        names = None if models is None else [name.strip() for name in models.split(",")]
        result = _restore(
            snapshot,
            repo,
            key,
            _Choice(models=names, only=only, without=without or ()),
            to,
            in_place=in_place,
            dry_run=dry_run,
            wait_s=wait,
        )
    if as_json:
        print_json(result)
    else:
        _show(result, undo=undo)


def _of_kept(*, discard: bool, dry_run: bool, wait_s: float) -> RestoredInPlace | ReplacedDiscarded:
    from modelyard.backup.in_place import discard_replaced, undo_restore

    project = find_project()
    if not discard:
        return undo_restore(project, dry_run=dry_run, wait_s=wait_s)
    folders = discard_replaced(project, dry_run=dry_run, wait_s=wait_s)
    return ReplacedDiscarded(folders=tuple(folders), dry_run=dry_run)


def _restore(
    snapshot: str,
    repo: str | None,
    key: str | None,
    choice: _Choice,
    to: Path | None,
    *,
    in_place: bool,
    dry_run: bool,
    wait_s: float,
) -> Restored | RestoredInPlace:
    from modelyard.adapters.versions import named_adapter
    from modelyard.backup.encryption import read_backup_key
    from modelyard.backup.in_place import restore_in_place
    from modelyard.backup.repository import open_repository
    from modelyard.backup.restore import restore_to
    from modelyard.cli.job_progress import showing_progress
    from modelyard.cli.repositories import project_or_here

    project = project_or_here(needed=in_place or repo is None)
    adapters = None if choice.models is None else [*map(named_adapter, choice.models)]
    repository = open_repository(repo, project, key=read_backup_key(key, project))
    with showing_progress() as progress:
        if in_place:
            return restore_in_place(
                project,
                repository,
                snapshot,
                progress,
                models=adapters,
                only=choice.only,
                without=choice.without,
                dry_run=dry_run,
                wait_s=wait_s,
            )
        name = repository.load_snapshot(snapshot).id
        folder = Path(os.path.abspath(to or f"restored-{name}"))  # noqa: PTH100, without `..`
        return restore_to(
            repository,
            name,
            folder,
            progress,
            models=adapters,
            only=choice.only,
            without=choice.without,
            dry_run=dry_run,
        )


def _show(result: Restored | RestoredInPlace | ReplacedDiscarded, *, undo: bool) -> None:
    from modelyard.backup.restore import Restored
    from modelyard.cli.render import print_text
    from modelyard.core.wording import counted

    if isinstance(result, ReplacedDiscarded):
        verb = "Would remove" if result.dry_run else "Removed"
        what = counted(len(result.folders), "restore")
        print_text(f"{verb} what {what} replaced." if result.folders else "Nothing is kept.")
    elif isinstance(result, Restored):
        _show_new_folder(result)
    else:
        _show_in_place(result, undo=undo)


def _show_new_folder(result: Restored) -> None:
    from modelyard.cli.render import print_note, print_text
    from modelyard.core.wording import counted, day_and_time, megabytes

    verb = "Would restore" if result.dry_run else "Restored"
    made = f"made on {day_and_time(result.created_at)} UTC"
    size = f"{counted(result.files, 'file')}, {megabytes(result.bytes)}"
    print_text(f"{verb} {size}, of the snapshot {result.snapshot}, {made}, to {result.folder}.")
    if not result.dry_run:
        print_note(
            f"Check it: `models --project {shlex.quote(result.folder)} adapters verify --all`. "
            "Weights of base models are not in backups: `models base pull` fetches them."
        )


def _show_in_place(result: RestoredInPlace, *, undo: bool) -> None:
    from modelyard.cli.render import print_note, print_table, print_text
    from modelyard.core.wording import counted, visible_line

    moved = [(path, "put back") for path in result.put_back]
    why = "it was not there before" if undo else "it is not in the snapshot"
    for path in result.moved_away:
        is_state = result.state and not undo and path.startswith(_STATE_DB)
        moved.append((path, f"moved away: {_DAMAGED_STATE if is_state else why}"))
    whose = "before the restore of" if undo else "in"
    verb = "would be" if result.dry_run else "is"
    print_text(f"The project {verb} as {whose} the snapshot {result.snapshot}: {_changed(result)}.")
    aside = [(path, "the audit log that was there, of another chain") for path in result.set_aside]
    rows = [
        *moved[:_SHOWN],
        *aside,
        *((kept.path, f"stays: {kept.reason}") for kept in result.kept),
    ]
    rows = [(visible_line(path), becomes) for path, becomes in rows]
    if rows:
        print_table(("place", "what becomes of it"), rows)
    if len(moved) > _SHOWN:
        print_note(f"And {counted(len(moved) - _SHOWN, 'other place')}; --json names all.")
    if result.replaced_in:
        print_note(
            f"What was there is in {result.replaced_in}: `models restore --undo` puts it back, "
            "`models restore --discard-replaced` removes it."
        )


def _changed(result: RestoredInPlace) -> str:
    from modelyard.core.wording import counted

    count = len(result.put_back) + len(result.moved_away)
    if result.dry_run:
        places = counted(count, "place differs", "places differ")
    else:
        places = f"{counted(count, 'place')} differed"
    rows = "are" if result.dry_run else "were"
    return f"{places}, and the rows of state.db {rows} brought together" if result.state else places
