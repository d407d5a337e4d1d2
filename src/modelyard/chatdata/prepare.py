"""The prepare-data job: source files or recorded feedback in, a dataset folder out.

Reads the sources, refuses or lists bad rows, drops exact duplicates, splits, finds near-duplicates
and secrets, and writes train.jsonl, eval.jsonl and DATASET.md. Feedback is assigned to the dataset
before its files are written: if the process is killed, no row of it is in two datasets, and the
same command again writes the same files. Does not know tokens or models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelyard import __version__
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import (
    CARD_FILE,
    DEFAULT_EVALUATION_SHARE,
    EVALUATION_FILE,
    TRAIN_FILE,
    fingerprint_rows,
    read_dataset_card,
    read_local_only,
    split_conversations,
    split_position,
)
from modelyard.chatdata.duplicates import find_near, find_repeated
from modelyard.chatdata.feedback import FeedbackRow, choose_feedback, claim_feedback, feedback_lock
from modelyard.chatdata.feedback_review import contradiction_warnings
from modelyard.chatdata.kept_back import recorded_row_options, require_kept_back
from modelyard.chatdata.prepared_folder import is_unchanged, write_prepared
from modelyard.chatdata.prepared_result import (
    FeedbackUse,
    PreparedData,
    describe_use,
    has_nothing_to_tell,
    recorded_result,
)
from modelyard.chatdata.reading import OF_THE_FILE
from modelyard.chatdata.sensitive import find_sensitive
from modelyard.chatdata.sources import FeedbackSource, RowOptions, RowSource, find_files
from modelyard.chatdata.text_marks import describe_text_marks
from modelyard.chatdata.unused_keys import find_unused_keys
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound
from modelyard.core.files import exclusive_lock, sweep_staging
from modelyard.core.given_paths import (
    given_path_errors,
    require_file_place,
    require_folder_place,
)
from modelyard.core.layout import Project, check_name
from modelyard.core.progress import Progress
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """What prepare-data is asked to do."""

    sources: tuple[Path | str, ...]
    """Files of any accepted format, folders of them, addresses on the hub, or `-` for `piped`; none
    with `from_feedback`."""
    out: str
    """The dataset: a name, `datasets/NAME`, or the path of a folder."""
    evaluation_share: float = DEFAULT_EVALUATION_SHARE
    """The share of rows kept for evaluation."""
    from_feedback: bool = False
    """Whether the source is the unused feedback of `org` (None: of none) in state.db."""
    piped: bytes | None = None
    """What came through the pipe that the source `-` stands for."""
    rows: RowOptions = field(default_factory=RowOptions)
    """How rows of files become conversations."""
    org: str | None = None
    """The organisation that owns the data; None keeps what the card says."""
    local_only: bool = False
    """Whether the rows may not leave this machine; False keeps what the card says."""
    licence: str | None = None
    """Its licence; None keeps what the card says."""
    drop_sensitive: bool = False
    """Whether rows with a secret or an e-mail address, in any of their keys, are left out."""
    skip_bad_rows: bool = False
    """Whether bad rows are left out and listed, where they are otherwise an error."""
    force: bool = False
    """Whether to replace files that prepare-data did not write or wrote from other sources, and to
    train on rows that were kept for evaluation."""


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
    _require_valid(request)
    folder = _locate_out(project, request)
    require_folder_place(folder)
    for file in (CARD_FILE, TRAIN_FILE, EVALUATION_FILE):
        require_file_place(folder / file)
    name, shown = folder.name, project.show(folder)
    with ExitStack() as locks:
        if not dry_run:
            lock = project.lock("dataset", name)
            locks.enter_context(exclusive_lock(lock, what=f"dataset {name}", wait_s=wait_s))
        if request.from_feedback and not dry_run:
            locks.enter_context(feedback_lock(project, request.org, wait_s=wait_s))
        old = read_dataset_card(folder, shown)
        owner = old.get("org")
        if request.from_feedback and owner and owner != request.org:
            raise InvalidInput(
                f"belongs to organisation '{owner}'",
                where=shown,
                hint=f"add --org {owner} for its feedback, or choose another --out",
            )
        feedback: tuple[FeedbackRow, ...] = ()
        use: FeedbackUse | None = None
        sources: Sequence[RowSource]
        if request.from_feedback:
            feedback = choose_feedback(project, name, request.org)
            for warning in contradiction_warnings(feedback):
                progress.warn(warning)
            sources = [FeedbackSource(feedback)]
            use = describe_use(feedback)
        else:
            sources = find_files(
                project, request.sources, folder, piped=request.piped, progress=progress
            )
        asked = _asked_front(request, sources, old)
        unchanged = is_unchanged(folder, shown, old, asked, sources, force=request.force)
        if unchanged and has_nothing_to_tell(old):
            result = recorded_result(name, shown, old, use)
        else:
            read = _read_sources(sources, request, progress)
            result, train, evaluation = _build(name, shown, read, use, request, progress)
            unchanged = unchanged and result.fingerprint == old["fingerprint"]
            result = replace(result, unchanged=unchanged)
            if not unchanged and not request.force:
                require_kept_back(folder, shown, old, asked, sources, train)
        if dry_run:
            return result
        claim_feedback(project, name, feedback)
        if unchanged:
            sweep_staging(folder)  # of a process that was killed after its last rename
        else:
            with given_path_errors(folder):
                write_prepared(folder, asked, read.facts, result, train, evaluation)
        return result


def _require_valid(request: PrepareRequest) -> None:
    """Raise InvalidInput for a request that contradicts itself."""
    if not 0 <= request.evaluation_share < 1:
        raise InvalidInput(
            f"the evaluation share must lie between 0 and 1, not {request.evaluation_share:g}",
            hint="give a share such as --eval-share 0.1",
        )
    rows = request.rows
    if request.from_feedback and (request.sources or rows != RowOptions()):
        raise InvalidInput(
            "a dataset is made from feedback or from files, not from both",
            hint="leave out the files and what is said about them, or leave out --from-feedback",
        )
    if rows.columns and rows.text_column:
        raise InvalidInput(
            "--text-column makes plain texts and --prompt conversations",
            hint="leave out one of them, and give each its own dataset",
        )
    if request.org is not None:
        check_name(request.org, "organisation")
    if not request.from_feedback and not request.sources:
        raise InvalidInput(
            "nothing was named to prepare",
            hint="name files or folders, or add --from-feedback",
        )


def _locate_out(project: Project, request: PrepareRequest) -> Path:
    """The dataset's folder. A name, or `datasets/NAME`, means the project's."""
    name = request.out.rstrip("/").removeprefix("datasets/")
    if "/" not in name or ".." in Path(request.out).parts:
        folder = project.dataset(name)
        project.contain(folder, "dataset")
    else:
        given = Path(request.out).expanduser()
        folder = require_folder_place(given)
        check_name(folder.name, "dataset")
    # Feedback rows record the dataset's name, so the name must mean this folder.
    if request.from_feedback and folder.resolve() != project.datasets.resolve() / folder.name:
        raise InvalidInput(
            "is no dataset of this project, and feedback belongs to one",
            where=project.show(folder),
            hint="give --out datasets/NAME",
        )
    return folder


def _asked_front(
    request: PrepareRequest, sources: Sequence[RowSource], old: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides the result, as the card records it."""
    local_only = request.local_only or read_local_only(old, CARD_FILE)
    return {
        "org": request.org or old.get("org"),
        "licence": request.licence or old.get("licence"),
        **({"local_only": True} if local_only else {}),
        "prepared_by": f"modelyard {__version__}",
        "prepared_from": [{"path": source.shown, "sha256": source.sha256} for source in sources],
        "options": {
            "evaluation_share": request.evaluation_share,
            **recorded_row_options(request.rows),
            "drop_sensitive": request.drop_sensitive,
            "skip_bad_rows": request.skip_bad_rows,
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read from all sources."""

    rows: tuple[Conversation, ...]
    problems: tuple[Diagnostic, ...]
    bad_rows: int
    stripped_rows: int
    facts: tuple[Mapping[str, Any], ...]


def _read_sources(
    sources: Sequence[RowSource], request: PrepareRequest, progress: Progress
) -> _Read:
    """All rows of all sources. Raises ProblemsFound unless bad rows may be left out."""
    found = []
    for source in sources:
        progress.stage(f"read {source.shown}")
        found.append(source.read(request.rows))
    problems = tuple(problem for part in found for problem in part.problems)
    of_files = [problem for problem in problems if problem.code == OF_THE_FILE]
    if problems and (of_files or not request.skip_bad_rows):
        raise ProblemsFound(
            f"{counted(len(problems), 'problem')} in the sources; nothing was written",
            of_files if request.skip_bad_rows else problems,
            hint="correct or leave out the file: --skip-bad-rows leaves out rows"
            if request.skip_bad_rows
            else "correct them, or add --skip-bad-rows to leave these rows out",
        )
    return _Read(
        rows=tuple(row for part in found for row in part.rows),
        problems=problems,
        bad_rows=sum(part.bad_rows for part in found),
        stripped_rows=sum(part.stripped_rows for part in found),
        facts=tuple(part.facts for part in found),
    )


def _build(
    name: str,
    shown: str,
    read: _Read,
    feedback: FeedbackUse | None,
    request: PrepareRequest,
    progress: Progress,
) -> tuple[PreparedData, list[Conversation], list[Conversation]]:
    """The result, the training rows and the evaluation rows."""
    repeated = {pair.source for pair in find_repeated(read.rows)}
    different = [row for row in read.rows if row.source not in repeated]
    flagged = find_sensitive(different)
    dropped = {found.source for found in flagged} if request.drop_sensitive else set()
    kept = [row for row in different if row.source not in dropped]
    if not kept:
        raise ProblemsFound("no row is left to write", read.problems, hint="nothing was written")
    train, evaluation = split_conversations(kept, request.evaluation_share)
    if not train:  # of a few rows, all can fall to evaluation
        train, evaluation = kept, []
    if warning := _few_evaluation(kept, request.evaluation_share, len(evaluation)):
        progress.warn(warning)
    result = PreparedData(
        name=name,
        folder=shown,
        unchanged=False,
        rows_read=len(read.rows) + read.bad_rows,
        train_rows=len(train),
        evaluation_rows=len(evaluation),
        fingerprint=fingerprint_rows(train, evaluation),
        removed_duplicates=len(repeated),
        dropped_sensitive=len(different) - len(kept),
        bad_row_count=read.bad_rows,
        stripped_rows=read.stripped_rows,
        near_duplicates=tuple(find_near(train, evaluation)),
        flagged=tuple(found for found in flagged if found.source not in dropped),
        bad_rows=read.problems,
        unused_keys=tuple(find_unused_keys(kept)),
        notes=tuple(describe_text_marks(kept)),
        feedback=feedback,
    )
    return result, train, evaluation


def _few_evaluation(rows: Sequence[Conversation], share: float, taken: int) -> str | None:
    """The warning that less than half of the share, or nothing, is kept for evaluation, with a
    share that would keep enough; a row's text decides its side, so of a few rows chance does."""
    asked_for = max(1, round(share * len(rows)))
    if not share or 2 * taken >= asked_for:
        return None
    places = sorted(map(split_position, rows))
    wanted = (math.floor(places[asked_for - 1] * 100) + 1) / 100
    kept = sum(place < wanted for place in places)
    said = f"--eval-share {share:g} of {counted(len(rows), 'row')} takes {taken or 'none'}"
    said = f"{'few' if taken else 'no'} evaluation rows: {said}"
    if kept == len(places) or wanted <= share:
        return (
            f"{said}; an eval.jsonl by hand, or more rows, would give {'more' if taken else 'some'}"
        )
    return f"{said}; --eval-share {wanted:g} would keep {kept:,} for evaluation"
