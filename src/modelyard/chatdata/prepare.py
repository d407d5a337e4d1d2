"""The prepare-data job: source files or recorded feedback in, a dataset folder out.

Reads, refuses or lists bad rows, drops exact duplicates, splits, looks for near-duplicates and for
secrets, and writes train.jsonl, eval.jsonl and DATASET.md. Feedback is claimed for the dataset
before its files are written: whenever the process dies, no row of it is in two datasets, and the
same command again writes the same files. Does not know tokens or models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.dataset import fingerprint_rows
from modelyard.chatdata.duplicates import find_near
from modelyard.chatdata.feedback import FeedbackRow, choose_feedback, claim_feedback, feedback_lock
from modelyard.chatdata.prepare_request import (
    PrepareRequest,
    locate_out,
    require_own_folder,
    require_sound,
)
from modelyard.chatdata.prepared import FeedbackUse, PreparedData
from modelyard.chatdata.prepared_folder import (
    asked_front,
    is_unchanged,
    load_old_card,
    require_same_organisation,
    write_prepared,
)
from modelyard.chatdata.sensitive import find_sensitive
from modelyard.chatdata.sources import FeedbackSource, Source, find_files
from modelyard.chatdata.splits import split_conversations
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.core.files import exclusive_lock, sweep_staging
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted


def prepare_data(
    project: Project,
    request: PrepareRequest,
    *,
    progress: Progress,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> PreparedData:
    """Prepare a dataset; a second run with the same sources and options changes nothing.

    Raises ProblemsFound with every bad row of every source (nothing is written then), InvalidInput
    when the folder holds what prepare-data should not overwrite, NoData when there is no feedback.
    """
    require_sound(request)
    folder = locate_out(project, request.out)
    name = folder.name
    shown = project.show(folder)
    if request.from_feedback:
        require_own_folder(project, folder, shown)
    with nullcontext() if dry_run else _locked(project, request, name, wait_s=wait_s):
        old = load_old_card(folder, shown)
        require_same_organisation(request, old, shown)
        sources = _find_sources(project, request, folder)
        asked = asked_front(request, sources, old)
        if is_unchanged(folder, shown, old, asked, sources, force=request.force):
            if not dry_run:
                _claim(project, name, sources)
                sweep_staging(folder)  # of a process that died when all but this was done
            return PreparedData(
                name=name,
                folder=shown,
                unchanged=True,
                train_rows=old["rows"]["train"],
                evaluation_rows=old["rows"]["eval"],
                fingerprint=old["fingerprint"],
                feedback=_feedback_use(sources),
            )
        rows, bad, facts = _read_sources(sources, request, progress)
        result, train, evaluation = _build(name, shown, rows, bad, request, progress)
        result = replace(result, feedback=_feedback_use(sources))
        if not dry_run:
            _claim(project, name, sources)
            write_prepared(folder, asked, facts, result, train, evaluation)
        return result


@contextmanager
def _locked(
    project: Project, request: PrepareRequest, name: str, *, wait_s: float
) -> Iterator[None]:
    """Hold the dataset, and the feedback if it is made of that."""
    dataset = exclusive_lock(project.lock("dataset", name), what=f"dataset {name}", wait_s=wait_s)
    feedback = feedback_lock(project, request.org, wait_s=wait_s)
    with dataset, feedback if request.from_feedback else nullcontext():
        yield


def _find_sources(project: Project, request: PrepareRequest, folder: Path) -> Sequence[Source]:
    """Every file to read, or the feedback that the dataset has used and may use."""
    if request.from_feedback:
        return [FeedbackSource(choose_feedback(project, folder.name, request.org))]
    return find_files(project, request.sources, folder, request.columns)


def _feedback_use(sources: Sequence[Source]) -> FeedbackUse | None:
    chosen = _chosen_feedback(sources)
    if not chosen:
        return None
    return FeedbackUse(
        rows=len(chosen),
        new_rows=sum(row.used_in is None for row in chosen),
        first_id=chosen[0].id,
        last_id=chosen[-1].id,
    )


def _claim(project: Project, name: str, sources: Sequence[Source]) -> None:
    if chosen := _chosen_feedback(sources):
        claim_feedback(project, name, chosen)


def _chosen_feedback(sources: Sequence[Source]) -> Sequence[FeedbackRow]:
    return [row for one in sources if isinstance(one, FeedbackSource) for row in one.chosen]


def _read_sources(
    sources: Sequence[Source], request: PrepareRequest, progress: Progress
) -> tuple[list[Conversation], list[Diagnostic], list[Mapping[str, Any]]]:
    """All rows, all bad rows, and what the card says of each source."""
    rows: list[Conversation] = []
    problems: list[Diagnostic] = []
    facts: list[Mapping[str, Any]] = []
    for source in sources:
        progress.stage(f"read {source.shown}")
        found = source.read()
        facts.append(found.facts)
        rows += found.rows
        problems += found.bad
    if problems and not request.skip_bad_rows:
        raise ProblemsFound(
            f"{counted(len(problems), 'problem')} in the sources; nothing was written",
            problems,
            hint="correct them, or add --skip-bad-rows to leave these rows out",
        )
    return rows, problems, facts


def _build(
    name: str,
    shown: str,
    rows: Sequence[Conversation],
    bad: Sequence[Diagnostic],
    request: PrepareRequest,
    progress: Progress,
) -> tuple[PreparedData, list[Conversation], list[Conversation]]:
    """The two sides, and the account of how they came about."""
    first: dict[tuple[Message, ...], Conversation] = {}
    for row in rows:
        first.setdefault(row.messages, row)
    different = list(first.values())
    flagged = find_sensitive(different)
    kept = different
    if request.drop_sensitive:
        sensitive = {finding.source for finding in flagged}
        kept = [one for one in different if one.source not in sensitive]
        flagged = []
    if not kept:
        raise ProblemsFound("no row is left to write", bad, hint="nothing was written")
    train, evaluation = split_conversations(kept, request.evaluation_share)
    if not train:
        train, evaluation = kept, []
    if not evaluation:
        progress.warn(f"all {len(kept):,} rows fell to train, so there is nothing to judge with")
    result = PreparedData(
        name=name,
        folder=shown,
        unchanged=False,
        train_rows=len(train),
        evaluation_rows=len(evaluation),
        fingerprint=fingerprint_rows(train, evaluation),
        removed_duplicates=len(rows) - len(different),
        dropped_sensitive=len(different) - len(kept),
        near_duplicates=tuple(find_near(train, evaluation)),
        flagged=tuple(flagged),
        bad_rows=tuple(bad),
    )
    return result, train, evaluation
