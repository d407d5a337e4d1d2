"""`models prepare-data`: files, or recorded feedback, into a dataset for `models fine-tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.arguments import read_share
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Json, Wait
from modelyard.cli.render import print_json, print_pairs, print_text, print_warning
from modelyard.cli.stdin import read_piped
from modelyard.core.errors import InvalidInput, group_equal
from modelyard.core.layout import find_project
from modelyard.core.wording import counted

if TYPE_CHECKING:
    from modelyard.chatdata.columns import ColumnMapping
    from modelyard.chatdata.prepared_result import PreparedData

_SHOWN = 5


def prepare_data(
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="DATASET",
            help="Where to write: datasets/NAME, NAME, or a folder's path.",
        ),
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Files (.jsonl, .json, .csv, .tsv, .parquet; also .gz and .zst), folders of "
            "them, hf://datasets/OWNER/NAME, or - for stdin. Rows hold messages, prompt and "
            "completion, Alpaca's, Dolly's or ShareGPT's keys, or columns that --prompt names.",
        ),
    ] = None,
    from_feedback: Annotated[
        bool,
        typer.Option(
            "--from-feedback",
            help="Instead of files, take the recorded feedback of --org (without --org: of no "
            "organisation) that no other dataset has used.",
        ),
    ] = False,
    eval_share: Annotated[
        float,
        typer.Option(
            "--eval-share",
            metavar="SHARE",
            parser=read_share,
            help="The share of rows kept for evaluation, such as 10% or 0.1.",
        ),
    ] = 0.1,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEMPLATE",
            help=r"Make the question from columns, such as '{subject}\n{body}'; {a.b} is a key "
            "in one.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer", metavar="TEMPLATE", help="Make the answer from columns, such as '{reply}'."
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", metavar="TEMPLATE", help="Put a system turn before each question."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="COLUMN",
            help="The answer is this column's value, a class that evaluation compares exactly.",
        ),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column",
            metavar="COLUMN",
            help="Rows are plain texts, to train on whole (continued pre-training).",
        ),
    ] = None,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip",
            help="Remove whitespace around texts, and make Windows line ends plain.",
        ),
    ] = False,
    org: Annotated[
        str | None,
        typer.Option(
            "--org",
            metavar="NAME",
            help="The organisation that owns the data, recorded in DATASET.md. With "
            "--from-feedback, the organisation whose feedback is used.",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="TEXT", help="Its licence, recorded in DATASET.md."),
    ] = None,
    local_only: Annotated[
        bool,
        typer.Option(
            "--local-only",
            help="Record in DATASET.md that the rows may not leave this machine: hosted "
            "fine-tuning refuses them. Later runs keep it.",
        ),
    ] = False,
    drop_sensitive: Annotated[
        bool,
        typer.Option(
            "--drop-sensitive",
            help="Leave out rows that seem to hold a secret or an e-mail address, in a message or "
            "in any other key.",
        ),
    ] = False,
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Leave out bad rows and list them, instead of refusing them all.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace files that were made by hand or prepared from other sources, and train "
            "on rows that were kept for evaluation.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    wait_s: Wait = 0.0,
) -> None:
    """Turn conversations, a table or feedback into a dataset.

    Refuses bad rows by file and line, drops duplicate rows, keeps some for evaluation (always the
    same ones, also after the file grows), and reports near-duplicates, secrets and addresses. With
    --prompt, only the named columns go into the dataset. Without it, a row's other keys are kept
    and searched for secrets too; evaluation reads `expect`, `label` and `group`. System texts,
    history, tools, calls and what is not to be trained count; a row that means what cannot be
    trained here (pictures, preferences) is refused.
    Writes train.jsonl, eval.jsonl and DATASET.md; unchanged sources are a fast no-op.

    With --from-feedback, a row with a correction or a good rating becomes a training row, oldest
    first, and belongs to the first dataset that used it. Later runs with the same --out add new
    rows.

    \b
    models prepare-data conversations.jsonl --out support
    models prepare-data tickets.csv --prompt '{subject}\\n{body}' --label team --out tickets
    models prepare-data --from-feedback --org techcorp --out datasets/corrections
    """
    from modelyard.chatdata.prepare import PrepareRequest
    from modelyard.chatdata.prepare import prepare_data as prepare
    from modelyard.chatdata.prepared_result import PreparedResult
    from modelyard.chatdata.sources import STDIN, RowOptions

    request = PrepareRequest(
        sources=tuple(sources or ()),
        out=out,
        from_feedback=from_feedback,
        evaluation_share=eval_share,
        piped=read_piped() if STDIN in (sources or ()) else None,
        rows=RowOptions(
            columns=_columns(prompt, answer, system, label), text_column=text_column, strip=strip
        ),
        org=org,
        licence=licence,
        local_only=local_only,
        drop_sensitive=drop_sensitive,
        skip_bad_rows=skip_bad_rows,
        force=force,
    )
    with showing_progress() as progress:
        result = prepare(find_project(), request, progress=progress, dry_run=dry_run, wait_s=wait_s)
    if as_json:
        print_json(PreparedResult(prepared=result, dry_run=dry_run))
    else:
        _print_result(result, dry_run=dry_run)


def _columns(
    prompt: str | None, answer: str | None, system: str | None, label: str | None
) -> ColumnMapping | None:
    from modelyard.chatdata.columns import ColumnMapping

    if prompt is None:
        if answer or system or label:
            raise InvalidInput(
                "--answer, --system and --label need --prompt",
                hint="say how the question is made, such as --prompt '{text}'",
            )
        return None
    # A shell hands over the two characters \n where a person means a line's end.
    prompt, answer, system = (
        text.replace("\\n", "\n").replace("\\t", "\t") if text else text
        for text in (prompt, answer, system)
    )
    return ColumnMapping(prompt=prompt or "", answer=answer, system=system, label=label)


def _print_result(result: PreparedData, *, dry_run: bool) -> None:

    evaluation = counted(result.evaluation_rows, "evaluation row")
    rows = f"{counted(result.train_rows, 'training row')}, {evaluation}"
    use = result.feedback
    if result.unchanged:
        why = ", no new feedback" if use else ""
        print_text(f"{result.folder}: unchanged{why} ({rows})")
    else:
        print_text(f"{result.folder}: {'would hold' if dry_run else 'holds'} {rows}")
    stripped = result.stripped_rows
    print_pairs(
        [
            *([("feedback", f"{use}; {use.new_rows:,} used for the first time")] if use else []),
            ("rows read", f"{result.rows_read:,}"),
            *((f"left out, {why}", f"{count:,}") for why, count in result.left_out),
            *([("stripped of whitespace", counted(stripped, "row"))] if stripped else []),
            ("fingerprint", result.fingerprint),
        ]
    )
    near, flagged = len(result.near_duplicates), len(result.flagged)
    nearly = f"{counted(near, 'evaluation row')} with nearly the question of a training row"
    secrets = f"{counted(flagged, 'place')} with what looks like a secret or an e-mail address"
    bad = f"{counted(result.bad_row_count, 'row')} left out because not valid"
    for summary, places in (
        (nearly, result.near_duplicates),
        (secrets, result.flagged),
        (bad, group_equal(result.bad_rows)),
    ):
        if places:
            shown = [*map(str, places[:_SHOWN]), *(["..."] if len(places) > _SHOWN else [])]
            print_warning("\n  ".join([f"{summary}:", *shown]))
    if result.unused_keys:
        more = ", ..." if len(result.unused_keys) > _SHOWN else ""
        named = ", ".join(map(str, result.unused_keys[:_SHOWN]))
        print_warning(f"kept and not learned: {named}{more}")
    for note in result.notes:
        print_warning(note)
    if not dry_run and not result.unchanged:
        print_text(f"next: {result.next_command}")
