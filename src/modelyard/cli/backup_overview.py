"""`models backup list`, `show` and `diff`: the snapshots of a repository."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import BackupKey, Json, Repo
from modelyard.cli.repositories import opened_repository
from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from modelyard.backup.overview import ListedSnapshot
    from modelyard.backup.selection import Selection

SnapshotName = Annotated[
    str,
    typer.Argument(metavar="SNAPSHOT", help="A snapshot, the beginning of its id, or `latest`."),
]


def list_snapshots(repo: Repo = None, key: BackupKey = None, as_json: Json = False) -> None:
    """List the snapshots of a repository, the newest last.

    Exits with 1 when one of them cannot be read, or was lost.

    \b
    models backup list --repo s3://backups/techcorp
    """
    from modelyard.backup.overview import list_snapshots as listed
    from modelyard.cli.render import print_json, print_note, print_table, print_warning
    from modelyard.core.wording import counted, day_and_time, megabytes

    shown = listed(opened_repository(repo, key))
    if as_json:
        print_json(shown)
    else:
        print_table(
            ("snapshot", "made", "tag", "holds", ">files", ">size", "from"),
            [_row(one, day_and_time(one.created_at)) for one in shown.snapshots],
        )
        kept = megabytes(shown.stored_bytes)
        secret = ", encrypted" if shown.encrypted else ""
        print_note(
            f"{counted(len(shown.snapshots), 'snapshot')} in {shown.repository}: {kept}{secret}."
        )
    for one in shown.snapshots:
        if one.skipped:
            what = counted(one.skipped, "thing")
            print_warning(f"{one.snapshot} lacks {what}; `models backup show` names them")
    for lost in shown.unreadable:
        print_warning(f"{lost.snapshot}: {lost.problem}; `models backup verify` says more")
    if shown.unreadable:
        sys.exit(ModelyardError.exit_code)


def show_snapshot(
    snapshot: SnapshotName,
    files: Annotated[
        bool, typer.Option("--files", help="Every file, link and folder, with its SHA-256.")
    ] = False,
    repo: Repo = None,
    key: BackupKey = None,
    as_json: Json = False,
) -> None:
    """Show what is in a snapshot, and what is not.

    \b
    models backup show latest
    models backup show 20261130T182355Z --files
    """
    from modelyard.backup.overview import show_snapshot as shown_snapshot
    from modelyard.cli.render import print_json, print_pairs, print_table, print_warning
    from modelyard.core.wording import counted, megabytes, visible_line

    shown = shown_snapshot(opened_repository(repo, key), snapshot, with_items=files)
    if as_json:
        print_json(shown)
        return
    one = shown.snapshot
    print_pairs(
        {
            "snapshot": one.snapshot,
            "made": f"{one.created_at} by modelyard {shown.modelyard}",
            "from": f"{one.host}:{one.project}",
            "tag": one.tag or "none",
            "holds": f"{_chosen(one.selection)}: {counted(one.files, 'file')}, "
            f"{megabytes(one.bytes)}",
            "before it": shown.parent or "none",
        }
    )
    if files:
        print_table(
            ("path", "kind", ">bytes", "SHA-256, or where it leads"),
            [
                (
                    visible_line(item.path),
                    item.kind,
                    f"{item.bytes:,}",
                    item.sha256 or item.target or "",
                )
                for item in shown.items
            ],
        )
    else:
        print_table(
            ("place", ">files", ">size"),
            [
                (visible_line(place.path), f"{place.files:,}", megabytes(place.bytes))
                for place in shown.places
            ],
        )
    if shown.left_out:
        print_table(
            ("left out", "because"),
            [(visible_line(left.path), left.reason) for left in shown.left_out],
        )
    for lacking in shown.skipped:
        print_warning(f"{visible_line(lacking.path)}: {lacking.reason}")


def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="The earlier snapshot, or the beginning of its id.")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="The later one, such as `latest`.")],
    repo: Repo = None,
    key: BackupKey = None,
    as_json: Json = False,
) -> None:
    """Show what two snapshots have that is not the same.

    Content, kind, permissions and where links lead count, times of files do not.

    \b
    models backup diff 20261129 latest
    """
    from modelyard.backup.overview import diff_snapshots
    from modelyard.cli.render import print_json, print_note, print_table
    from modelyard.core.wording import counted, visible_line

    found = diff_snapshots(opened_repository(repo, key), before, after)
    if as_json:
        print_json(found)
        return
    if found.differences:
        print_table(
            ("path", "change", "kind", ">bytes before", ">bytes after"),
            [
                (
                    visible_line(one.path),
                    one.change,
                    one.kind,
                    f"{one.bytes_before:,}",
                    f"{one.bytes_after:,}",
                )
                for one in found.differences
            ],
        )
    count = counted(len(found.differences), "difference")
    print_note(f"{count} between {found.before} and {found.after}.")


def _row(one: ListedSnapshot, made: str) -> tuple[str, ...]:
    from modelyard.core.wording import megabytes

    return (
        one.snapshot,
        made,
        one.tag or "",
        _chosen(one.selection),
        f"{one.files:,}",
        megabytes(one.bytes),
        f"{one.host}:{one.project}",
    )


def _chosen(selection: Selection) -> str:
    models = "all models" if selection.models is None else ", ".join(selection.models)
    more = {
        "embeddings": selection.include_embeddings,
        "datasets": selection.include_datasets,
        "experiments": selection.include_experiments,
        "telemetry": selection.include_telemetry,
    }
    return ", ".join([models, *(name for name, chosen in more.items() if chosen)])
