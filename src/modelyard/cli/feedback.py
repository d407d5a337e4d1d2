"""`models feedback add`: record what people thought of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import DryRun, Json
from modelyard.cli.render import print_json, print_text, print_warning
from modelyard.cli.stdin import read_piped, read_stdin
from modelyard.core.errors import InvalidInput, ModelyardError, ProblemsFound
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import counted
from modelyard.results.json_form import result_of

if TYPE_CHECKING:
    from modelyard.chatdata.feedback import Feedback, FeedbackAdded

_FROM_STDIN = "-"
_MOST_STDIN = 4_000_000


@dataclass(frozen=True, kw_only=True)
class FeedbackResult:
    """Feedback that was recorded, or would be."""

    ids: tuple[int, ...]
    """The numbers of the new rows, in the order given; empty in a dry run."""
    added: int
    """How many rows are new."""
    repeated: int
    """How many rows were left out because they were recorded before."""
    to_learn: int
    """How many of the new rows `prepare-data --from-feedback` makes training rows of."""
    dry_run: bool
    """Whether nothing was recorded."""


def add_feedback(
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What was asked.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="TEXT", help="What was answered.")
    ] = None,
    answer_id: Annotated[
        str | None,
        typer.Option(
            "--answer-id",
            metavar="ID",
            help="The answer, by the id that `models ask --explain` and --json show; its texts "
            "need not be given.",
        ),
    ] = None,
    rating: Annotated[
        str | None,
        typer.Option(
            "--rating",
            metavar="good|bad",
            help="How good the answer was; a good one becomes a training row.",
        ),
    ] = None,
    correction: Annotated[
        str | None,
        typer.Option(
            "--correction",
            metavar="TEXT",
            help="What the answer should have been: this becomes a training row.",
        ),
    ] = None,
    org: Annotated[
        str | None,
        typer.Option("--org", metavar="NAME", help="The organisation it belongs to."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", metavar="NAME[@VERSION]", help="What gave the answer."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="ROWS.jsonl",
            help="Record every row of this file instead, or of stdin with `-`; their keys are "
            "named like the options.",
        ),
    ] = None,
    elsewhere: Annotated[
        bool,
        typer.Option("--elsewhere", help="The adapter is on another machine, and is not checked."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Record a rating or a correction of an answer.

    `models prepare-data --from-feedback` makes a dataset of it: a row with a correction trains on
    that, a row rated good on its answer. A bad rating without a correction is kept, and never
    becomes a training row. One text may be `-`, and is then read from stdin. A file is checked
    first, and recorded as a whole or not at all. A row that was recorded before is not recorded
    again.

    An adapter that is none of those here is refused unless --elsewhere is given. Rows that teach
    different answers to one question are named.

    With --answer-id no text is needed: the record of the answer says whose it is and which adapter
    gave it. A rating alone is then no training row. A correction needs --prompt, unless
    `record_prompts` of the integration has kept the prompt.

    \b
    models feedback add --prompt "Who leads sales?" --answer "Ann." --correction "Bob." --org acme
    models feedback add --answer-id 3f9c51b2a07d4e68 --rating good
    models feedback add --file rows.jsonl
    """
    from modelyard.chatdata.feedback import read_feedback, record_feedback

    options = {
        "prompt": prompt,
        "answer": answer,
        "rating": rating,
        "correction": correction,
        "org": org,
        "adapter": adapter,
        "answer_id": answer_id,
    }
    given = {key: value for key, value in options.items() if value is not None}
    project = find_project()
    if file is not None and given:
        raise InvalidInput(
            f"--file holds whole rows, so {_options(given)} cannot be given beside it",
            hint="write it into the rows of the file",
        )
    if file is None:
        rows: tuple[Feedback, ...] = (_row_of_options(given),)
    else:
        piped = read_piped("rows of feedback") if str(file) == _FROM_STDIN else None
        rows = read_feedback(file, piped=piped)
    if not elsewhere:  # the record of an answer says itself which adapter gave it
        _require_known(project, [row for row in rows if row.answer_id is None])
    if any(row.answer_id for row in rows):
        from modelyard.answering.rated_answers import complete_feedback

        rows = complete_feedback(project, rows)
    added = record_feedback(project, rows, dry_run=dry_run)
    for warning in _contradictions(project, added):
        print_warning(warning)
    if as_json:
        print_json(result_of(FeedbackResult, added, dry_run=dry_run))
    else:
        _print(added, rows, dry_run=dry_run)


def _require_known(project: Project, rows: Sequence[Feedback]) -> None:
    """Refuse an adapter that is none of those here: it is misspelt, or on another machine.

    A project without adapters has nothing to compare with, so that anything is recorded.
    """
    from modelyard.adapters.versions import list_known_adapters, require_numbers, resolve_number
    from modelyard.records.modelref import ModelRef

    if not list_known_adapters(project):
        return
    for adapter in sorted({row.adapter for row in rows if row.adapter}):
        named = ModelRef.parse(adapter, kind="adapter")
        try:
            if named.version is None:
                require_numbers(project, named.name)
            else:
                resolve_number(project, adapter)
        except InvalidInput as error:
            raise InvalidInput(
                f"{error.message}; nothing was recorded",
                hint=f"{error.hint}; for an adapter of another machine say `--elsewhere`",
            ) from error
        except ModelyardError:
            continue  # known, and not here


def _contradictions(project: Project, added: FeedbackAdded) -> list[str]:
    """A line for each question to which the new rows and older ones teach different answers."""
    from modelyard.chatdata.feedback import list_feedback
    from modelyard.chatdata.feedback_review import contradiction_warnings, find_contradictions

    rows = list_feedback(project)
    against = find_contradictions(rows)
    concerned = {id for new in added.ids if new in against for id in (new, *against[new])}
    return contradiction_warnings([row for row in rows if row.id in concerned])


def _row_of_options(given: Mapping[str, str]) -> Feedback:
    """The row that the options make. Raises ProblemsFound with everything that is wrong with it."""
    from modelyard.chatdata.feedback import check_feedback

    from_stdin = [key for key, value in given.items() if value == _FROM_STDIN]
    if len(from_stdin) > 1:
        raise InvalidInput(
            f"stdin holds one text, and {_options(from_stdin)} are to be read from it",
            hint="use --file for many texts",
        )
    texts = {
        key: read_stdin(_MOST_STDIN) if key in from_stdin else value for key, value in given.items()
    }
    row, problems = check_feedback(
        texts, lambda path: f"--{path[0]}".replace("_", "-") if path else None
    )
    if row is None:
        raise ProblemsFound("the feedback is not valid; nothing was recorded", problems)
    return row


def _options(keys: Sequence[str] | Mapping[str, str]) -> str:
    return " and ".join(f"--{key.replace('_', '-')}" for key in keys)


def _why_no_row(rows: Sequence[Feedback]) -> str:
    if any(row.prompt is None for row in rows):
        return "it has no prompt"
    return "it has neither a correction nor a good rating"


def _print(added: FeedbackAdded, rows: Sequence[Feedback], *, dry_run: bool) -> None:

    if not added.added:
        what = "this" if added.repeated == 1 else f"all {added.repeated:,} rows"
        print_text(f"unchanged: {what} was recorded before")
        return
    if added.added > 1:
        kind = "a training row" if added.to_learn == 1 else "training rows"
        use = f"{added.to_learn:,} of them {kind}"
    elif added.to_learn:
        use = "a training row"
    else:
        use = f"kept, and no training row: {_why_no_row(rows)}"
    ids = ""
    if added.ids:
        first, last = added.ids[0], added.ids[-1]
        ids = f" (id {first})" if first == last else f" (id {first} to {last})"
    verb = "would record" if dry_run else "recorded"
    print_text(f"{verb} {counted(added.added, 'row')}{ids}, {use}")
    if added.repeated:
        print_text(f"left out, recorded before: {added.repeated:,}")
