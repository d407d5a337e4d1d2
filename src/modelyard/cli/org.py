"""`models org forget`: everything that the project holds of what an organisation asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.layout import find_project
from modelyard.core.wording import counted

if TYPE_CHECKING:
    from modelyard.answering.forget_organisation import Forgotten


def forget(
    organisation: Annotated[str, typer.Argument(metavar="ORG", help="The organisation.")],
    adapters: Annotated[
        bool,
        typer.Option("--adapters", help="Remove its adapters too, with all their versions."),
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Remove what the project holds of an organisation.

    Its samples, recorded and audited prompts, feedback and kept answers, so that their text is
    nowhere in the project's own files; with --adapters its adapters too. What is not removed is
    named: datasets, training runs, rows of the audit log, API keys, and backups that were made
    before. Nothing brings it back but such a backup. When
    it was interrupted, the same command again completes it.

    \b
    models org forget techcorp --dry-run
    models org forget techcorp --adapters
    """
    from modelyard.answering.forget_organisation import forget_organisation

    found = forget_organisation(
        find_project(), organisation, adapters=adapters, dry_run=dry_run, wait_s=wait
    )
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Forgotten) -> None:
    verb = "would remove" if found.dry_run else "removed"
    if found.is_empty:
        print_text(f"There is nothing of {found.organisation} to remove.")
    else:
        counts = (
            ("answers in the records", found.samples),
            ("recorded prompts", found.prompts),
            ("rows of feedback", found.feedback),
            ("kept answers", found.answers),
            ("prompts in the audit log", found.audited_prompts),
        )
        rows = [(what, f"{count:,}") for what, count in counts]
        rows += [
            (f"adapter {adapter.name}", counted(len(adapter.versions), "version"))
            for adapter in found.adapters
        ]
        print_table((f"{verb} of {found.organisation}", ">"), rows)
    print_table(("not removed", ""), [(left.place, left.what) for left in found.left])
