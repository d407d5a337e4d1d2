"""`models update-embeddings`: updates the search indexes from their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import DryRun, Environment, Json, chosen_environment
from modelyard.cli.render import flush_results, print_json, print_lines, print_note
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.encoders import Encoders
    from modelyard.retrieval.indexes import SearchIndex
    from modelyard.retrieval.updating.job import IndexUpdate

_SHOWN_SKIPPED = 3
_WAIT_S = 600.0


def update_embeddings(
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--domain", metavar="INDEX", help="NAME or GROUP/NAME; may be repeated. Default: all."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every index, which is the default.")] = (
        False
    ),
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what changed, which is the default.")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Read and chunk every file again, beside the old index."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and update as soon as a file is saved.")
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Empty an index when nothing matches its sources any more."
        ),
    ] = False,
    environment: Environment = None,
    dry_run: DryRun = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait for another update of the same index; 0: not at all.",
        ),
    ] = _WAIT_S,
    as_json: Json = False,
) -> None:
    """Update search indexes from their files.

    Files whose content changed are chunked again, and new chunks are embedded; everything else is
    kept. A moved file embeds nothing, and a text that occurs twice is embedded once. Searches
    continue meanwhile, and see all of an update or nothing of it. The next update completes one
    that was killed. While another update of the same index runs, this one waits, and says for
    which.

    Encoder, sources, chunking and redaction decide which file an index has: environments with equal
    settings share it, others have their own. After a change of these settings the index begins as a
    copy of its newest file where only the sources differ; else it is built beside it, and known
    texts are not embedded again. An index is also rebuilt beside the old one, which answers until
    then, when the encoder's weights or the rules of chunking changed, or when it is damaged, which
    is checked for first. Index files that no environment needs any more are removed at the end.

    Files that cannot be read, are binary, too large or in a broken encoding are skipped and
    reported; of a log only the broken characters are lost. Text is UTF-8, UTF-16 with
    its mark, or in the encoding that a `coding:` comment declares.

    When nothing matches the sources of an index that has files, its globs are probably wrong: the
    index stays, the others are updated, and the exit code is 1. --allow-empty empties it.

    Texts for an encoder behind an API cost its `price_per_million`. What an update will cost is
    said before it begins, and counts for the budgets of the environment: where they leave no room,
    the exit code is 4, and what was embedded is kept.

    With --dry-run nothing is written or fetched; without the encoder on this machine it says what
    would happen to the files, and counts no chunks.

    \b
    models update-embeddings --domain documentation --incremental
    models update-embeddings --dry-run
    models update-embeddings --watch

    With --watch, --json prints one document for each update that changed something, one a line.
    """
    from modelyard.answering.money.embedding_charge import embedding_charge
    from modelyard.encoders import Encoders
    from modelyard.retrieval.indexes import choose_indexes, load_indexes, where_to_declare
    from modelyard.retrieval.language import read_language_problem
    from modelyard.retrieval.sharing import remove_unneeded
    from modelyard.retrieval.update import NothingToIndex, update_index
    from modelyard.retrieval.updating.job import IndexUpdate, list_updates

    if every and index:
        raise InvalidInput("--all and --domain do not go together")
    if incremental and rebuild:
        raise InvalidInput("--incremental and --rebuild do not go together")
    if watch and (dry_run or rebuild or allow_empty):
        other = "--dry-run" if dry_run else "--rebuild" if rebuild else "--allow-empty"
        raise InvalidInput(f"--watch and {other} do not go together")
    project = find_project()
    asked = chosen_environment(project, environment)
    chosen = choose_indexes(load_indexes(project, asked), index or [])
    if not chosen:
        raise InvalidInput(f"no search index is declared in {asked}", hint=where_to_declare(asked))
    with showing_progress() as progress:
        encoders = Encoders(
            project=project, progress=progress, charge=embedding_charge(project, asked)
        )
        if watch:
            _watch(project, chosen, encoders, progress, wait=wait, as_json=as_json)
            return
        updates, refused = list[IndexUpdate](), list[NothingToIndex]()
        for search_index in chosen:
            try:
                done = update_index(
                    project,
                    search_index,
                    encoders,
                    rebuild=rebuild,
                    dry_run=dry_run,
                    allow_empty=allow_empty,
                    wait_s=wait,
                    progress=progress,
                )
            except NothingToIndex as error:
                refused.append(error)  # it costs the other indexes nothing
            else:
                updates.append(done)
        if refused:
            raise refused[0]  # before anything is removed
        removed = [
            project.show(path)
            for path in remove_unneeded(
                project, chosen, of_all=not index, dry_run=dry_run, progress=progress
            )
        ]
    if as_json:
        print_json(list_updates(updates, removed=removed, dry_run=dry_run))
        return
    for update in updates:
        print_lines([_sentence(update)])
        for reason, paths in update.skipped.items():
            print_lines([f"  skipped, {reason}: {len(paths):,} ({_some(paths)})"])
    for search_index in chosen if not dry_run else ():
        if (problem := read_language_problem(search_index, search_index.path)) is not None:
            print_note(f"note: {problem}")
    for path in removed:
        print_lines([f"{path}: {'would be ' if dry_run else ''}removed, no environment needs it"])


def _watch(
    project: Project,
    indexes: Sequence[SearchIndex],
    encoders: Encoders,
    progress: Progress,
    *,
    wait: float,
    as_json: bool,
) -> None:
    from modelyard.retrieval.updating.job import list_updates
    from modelyard.retrieval.watch import keep_up_to_date

    progress.stage(
        f"watching the files of {', '.join(index.label for index in indexes)}; ^C ends it"
    )
    for done in keep_up_to_date(project, indexes, encoders, wait_s=wait, progress=progress):
        if not done.unchanged:
            if as_json:
                print_json(list_updates([done]), indent=None)
            else:
                print_lines([_sentence(done)])
            flush_results()


def _sentence(update: IndexUpdate) -> str:
    """The result of one update, in one line."""
    files, chunks = update.files, update.chunks
    origin = f", taken over from {update.taken_over}" if update.taken_over else ""
    if update.unchanged and not update.unknown:
        return (
            f"{update.index}: unchanged, {counted(files.total, 'file')}, "
            f"{counted(chunks.total, 'chunk')}{origin} ({update.took_s:.2f} s)"
        )
    said = _changes(files, "file")
    if not (files.total or files.removed or update.skipped):
        said += ", for none matches its `sources`"
    what = "would be " if update.dry_run else ""
    what += f"rebuilt ({update.built})" if update.built else f"changed{origin}"
    if update.unknown:
        return (
            f"{update.index}: {what}: {said}; chunks not counted: "
            f"{update.unknown} ({update.took_s:.2f} s)"
        )
    vectors = f"{'to embed' if update.dry_run else 'embedded'} {update.embedded:,}"
    if update.from_cache:
        vectors += f", known {update.from_cache:,}"
    if update.charged_tokens and update.cost_usd is not None:
        about = "about " if update.dry_run else ""
        cost = MONEY.show(float(f"{update.cost_usd:.3g}"))
        vectors += f", {about}{counted(update.charged_tokens, 'token')} for {cost}"
    return (
        f"{update.index}: {what}: {said}; {_changes(chunks, 'chunk')}; "
        f"{vectors} ({update.took_s:.2f} s)"
    )


def _changes(counts: Any, noun: str) -> str:
    kinds = ("added", "changed", "moved", "removed", "reused")
    parts = [f"{getattr(counts, kind):,} {kind}" for kind in kinds if getattr(counts, kind)]
    return f"{counted(counts.total, noun)} ({', '.join(parts)})" if parts else counted(0, noun)


def _some(paths: Sequence[str]) -> str:
    more = len(paths) - _SHOWN_SKIPPED
    return ", ".join(paths[:_SHOWN_SKIPPED]) + (f" and {more:,} more" if more > 0 else "")
