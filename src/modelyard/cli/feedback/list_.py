"""`models feedback list`: what was recorded, and which dataset learned it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Json

if TYPE_CHECKING:
    from modelyard.chatdata.feedback import FeedbackRow

_LONGEST_CELL = 60


def list_feedback(
    org: Annotated[
        str | None,
        typer.Option("--org", metavar="NAME", help="Only this organisation's feedback."),
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Only what no dataset has used yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List recorded feedback, oldest first.

    The column `learns` says what a dataset takes of a row: its correction, its answer, or nothing.

    \b
    models feedback list --unused
    models feedback list --org techcorp --json

    \b
    JSON: [{"id", "recorded_at", "org", "adapter", "prompt", "answer",
            "rating": "good", "bad" or null, "correction", "lesson": text or null,
            "used_in": dataset or null}], null where there is nothing to say
    """
    from modelyard.chatdata.feedback import list_feedback as recorded
    from modelyard.cli.render import print_json, print_table, print_text
    from modelyard.core.layout import find_project
    from modelyard.settings.mapping import settings_mapping

    rows = recorded(find_project(), org=org, unused=unused)
    if as_json:
        print_json([settings_mapping(row) | {"lesson": row.lesson} for row in rows])
        return
    if not rows:
        kind = "unused feedback" if unused else "feedback"
        whose = f" of organisation {org}" if org else ""
        print_text(f"There is no {kind}{whose}; `models feedback add` records some.")
        return
    print_table(
        (">id", "recorded", "org", "adapter", "rating", "learns", "used in", "asked"),
        [
            (
                row.id,
                row.recorded_at,
                row.org or "",
                row.adapter or "",
                row.rating or "",
                _learns(row),
                row.used_in or "",
                _shortened(row.prompt),
            )
            for row in rows
        ],
    )
    usable = sum(row.used_in is None and row.lesson is not None for row in rows)
    print_text(f"{len(rows):,} in all, {usable:,} to learn from that no dataset has used")


def _learns(row: FeedbackRow) -> str:
    if row.correction:
        return "correction"
    return "answer" if row.lesson else "nothing"


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_CELL else f"{flat[: _LONGEST_CELL - 1]}…"
