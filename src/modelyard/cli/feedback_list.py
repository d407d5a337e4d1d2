"""`models feedback list` and `withdraw`: recorded feedback, shown and taken back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_lines, print_table, print_text, print_warning
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project
from modelyard.core.wording import counted
from modelyard.results.json_form import result_of

if TYPE_CHECKING:
    from modelyard.chatdata.feedback import FeedbackRow


@dataclass(frozen=True, kw_only=True)
class ListedFeedback:
    """A recorded row of feedback."""

    id: int
    """Its number; later rows have larger ones."""
    recorded_at: str
    """When, UTC."""
    org: str | None
    """The organisation it belongs to."""
    adapter: str | None
    """The adapter that answered, as NAME or NAME@VERSION."""
    answer_id: str | None
    """The id of the answer; null when only its texts are known."""
    prompt: str | None
    """The question; null when it was not given."""
    answer: str | None
    """The answer of the model; null when it was not given."""
    rating: Literal["good", "bad"] | None
    """Whether the answer was good; null when it was not rated."""
    correction: str | None
    """The right answer; null when it was not given."""
    lesson: str | None
    """The answer that a dataset trains on: the correction, else a good answer, else null."""
    used_in: str | None
    """The dataset that took the row; null while none has."""
    contradicts: tuple[int, ...]
    """The rows that teach another answer to the same question."""


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """Feedback that was withdrawn, or would be."""

    ids: tuple[int, ...]
    """The numbers of the rows."""
    datasets: tuple[str, ...]
    """The datasets that have used some of them, and keep them until they are prepared again."""
    dry_run: bool
    """Whether nothing was withdrawn."""


_LONGEST_CELL = 60


def list_feedback(
    org: Annotated[
        str | None,
        typer.Option("--org", metavar="NAME", help="Only this organisation's feedback."),
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Only what no dataset has used yet.")
    ] = False,
    form: Annotated[
        Literal["text", "json", "csv"], typer.Option("--format", help="The form of the result.")
    ] = "text",
    as_json: Json = False,
) -> None:
    """List recorded feedback, oldest first.

    The column `trains on` says what a dataset takes from a row: its correction, its answer, or
    nothing. Rows that teach different answers to one question are named. A CSV file has the fields
    of --json, and each text as it was recorded.

    \b
    models feedback list --unused
    models feedback list --org techcorp --json
    models feedback list --format csv > feedback.csv
    """
    from modelyard.chatdata.feedback import list_feedback as recorded
    from modelyard.chatdata.feedback_review import contradiction_warnings, find_contradictions

    if as_json and form == "csv":
        raise InvalidInput("--json and --format csv are two forms", hint="leave one of them out")
    as_json = as_json or form == "json"
    rows = recorded(find_project(), org=org, unused=unused)
    against = find_contradictions(rows)
    listed = [
        result_of(
            ListedFeedback,
            row,
            lesson=row.training_answer,
            contradicts=against.get(row.id, ()),
        )
        for row in rows
    ]
    if as_json:
        print_json(listed)
        return
    if form == "csv":
        print_lines(_csv_lines(listed))
        return
    if not rows:
        kind = "unused feedback" if unused else "feedback"
        of_org = f" of organisation {org}" if org else ""
        print_text(f"There is no {kind}{of_org}; `models feedback add` records some.")
        return
    print_table(
        (">id", "recorded", "org", "adapter", "rating", "trains on", "used in", "about"),
        [
            (
                row.id,
                row.recorded_at,
                row.org or "",
                row.adapter or "",
                row.rating or "",
                _trains_on(row),
                row.used_in or "",
                _shortened(row.prompt or f"answer {row.answer_id}"),
            )
            for row in rows
        ],
    )
    usable = sum(row.used_in is None and row.training_answer is not None for row in rows)
    print_text(f"{len(rows):,} in all, {counted(usable, 'training row')} that no dataset has used")
    for warning in contradiction_warnings(rows):
        print_warning(warning)


def withdraw(
    ids: Annotated[
        list[int],
        typer.Argument(metavar="ID...", help="The rows, as `models feedback list` shows."),
    ],
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Withdraw recorded feedback, for good.

    The rows are removed for good, all or none. A dataset that has used one keeps it until it is
    prepared again, and a version that was trained on it is trained.

    \b
    models feedback withdraw 7
    """
    from modelyard.chatdata.feedback_review import withdraw_feedback

    rows = withdraw_feedback(find_project(), ids, dry_run=dry_run, wait_s=wait)
    datasets = tuple(sorted({row.used_in for row in rows if row.used_in}))
    if as_json:
        withdrawn = Withdrawn(ids=tuple(row.id for row in rows), datasets=datasets, dry_run=dry_run)
        print_json(withdrawn)
        return
    verb = "would withdraw" if dry_run else "withdrew"
    print_text(f"{verb} {counted(len(rows), 'row')}: {', '.join(str(row.id) for row in rows)}")
    orgs = {row.used_in: row.org for row in rows if row.used_in}  # a dataset has one
    for dataset in datasets:
        of_org = f" --org {orgs[dataset]}" if orgs[dataset] else ""
        print_warning(
            f"dataset {dataset} still has what it used of them: `models prepare-data "
            f"--from-feedback{of_org} --out {dataset} --force` makes it without"
        )


def _csv_lines(rows: Sequence[ListedFeedback]) -> list[str]:
    """A header and a record for each row; a text with line ends takes several lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(ListedFeedback))
    for row in rows:
        *values, contradicts = astuple(row)
        writer.writerow([*values, " ".join(map(str, contradicts))])
    return text.getvalue().removesuffix("\n").split("\n")


def _trains_on(row: FeedbackRow) -> str:
    if row.correction:
        return "correction"
    return "answer" if row.training_answer else "nothing"


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_CELL else f"{flat[: _LONGEST_CELL - 1]}…"
