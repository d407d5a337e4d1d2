"""The prepare-data job: source files or recorded feedback in, a dataset folder out.

Reads, refuses or lists bad rows, drops exact duplicates, splits, looks for near-duplicates and for
secrets, and writes train.jsonl, eval.jsonl and DATASET.md. A reader never takes a mixture of two
preparations: the card says `unfinished` from before the first file moves in until after the last.
Feedback is claimed for the dataset before its files are written: whenever the process dies, no row
of it is in two datasets, and the same command again writes the same files. Does not know tokens or
models.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard import __version__
from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.conversation import Conversation, Message, conversation_row
from modelyard.chatdata.dataset import (
    CARD_FILE,
    EVALUATION_FILE,
    TRAIN_FILE,
    fingerprint_rows,
)
from modelyard.chatdata.duplicates import find_near
from modelyard.chatdata.feedback import FeedbackRow, choose_feedback, claim_feedback, feedback_lock
from modelyard.chatdata.prepared import FeedbackUse, PreparedData, render_body
from modelyard.chatdata.sensitive import find_sensitive
from modelyard.chatdata.sources import FeedbackSource, Source, find_files
from modelyard.chatdata.splits import DEFAULT_EVALUATION_SHARE, split_conversations
from modelyard.core.cards import load_card, write_card
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, Problem, ProblemsFound
from modelyard.core.files import (
    STAGING_PREFIX,
    disk_errors,
    exclusive_lock,
    sha256_file,
    sweep_staging,
    sync_folder,
    write_atomic,
)
from modelyard.core.layout import Yard, check_name
from modelyard.core.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """What prepare-data is asked to do."""

    sources: tuple[Path, ...]
    """Files of any accepted format, or folders of such files; none with `from_feedback`."""
    out: str
    """The dataset: a name, `datasets/NAME`, or the path of a folder."""
    evaluation_share: float = DEFAULT_EVALUATION_SHARE
    """The share of rows kept back to judge with."""
    from_feedback: bool = False
    """Whether the source is the unused feedback of `org` (None: of none) in state.db."""
    columns: ColumnMapping | None = None
    """How the columns of a table make a conversation; None for files of conversations."""
    org: str | None = None
    """Whose data it is; None keeps what the card says."""
    licence: str | None = None
    """Its licence; None keeps what the card says."""
    drop_sensitive: bool = False
    """Whether rows with a secret or an e-mail address, in any of their keys, are left out."""
    skip_bad_rows: bool = False
    """Whether bad rows are left out and listed, where they are otherwise an error."""
    force: bool = False
    """Whether files that prepare-data did not write, or wrote from other sources, are replaced."""


def prepare_data(
    yard: Yard,
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
    _require_sound(request)
    folder = _locate_out(yard, request.out)
    name = folder.name
    shown = yard.show(folder)
    if request.from_feedback:
        _require_own_folder(yard, folder, shown)
    with nullcontext() if dry_run else _locked(yard, request, name, wait_s=wait_s):
        old = _load_old_card(folder, shown)
        _require_same_organisation(request, old, shown)
        sources = _find_sources(yard, request, folder)
        asked = _asked(request, sources, old)
        if _is_unchanged(folder, shown, old, asked, sources, force=request.force):
            if not dry_run:
                _claim(yard, name, sources)
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
            _claim(yard, name, sources)
            _write(folder, asked, facts, result, train, evaluation)
        return result


@contextmanager
def _locked(yard: Yard, request: PrepareRequest, name: str, *, wait_s: float) -> Iterator[None]:
    """Hold the dataset, and the feedback if it is made of that."""
    dataset = exclusive_lock(yard.lock("dataset", name), what=f"dataset {name}", wait_s=wait_s)
    feedback = feedback_lock(yard, request.org, wait_s=wait_s)
    with dataset, feedback if request.from_feedback else nullcontext():
        yield


# What is asked, and what lies there.


def _require_sound(request: PrepareRequest) -> None:
    """Raise InvalidInput for what can never be prepared."""
    if not 0 < request.evaluation_share < 1:
        raise InvalidInput(
            f"the evaluation share must lie between 0 and 1, not {request.evaluation_share:g}",
            hint="give a share such as --eval-share 0.1",
        )
    if request.from_feedback and (request.sources or request.columns):
        raise InvalidInput(
            "a dataset is made from feedback or from files, not from both",
            hint="leave out the files and --prompt, or leave out --from-feedback",
        )
    if request.from_feedback and request.org is not None:
        check_name(request.org, "organisation")
    if not request.from_feedback and not request.sources:
        raise InvalidInput(
            "nothing was named to prepare",
            hint="name files or folders, or add --from-feedback",
        )


def _require_own_folder(yard: Yard, folder: Path, shown: str) -> None:
    """Feedback is marked with the dataset's name, so the name must mean this folder."""
    if folder.resolve() != yard.datasets.resolve() / folder.name:
        raise InvalidInput(
            "is no dataset of this yard, and feedback belongs to one",
            where=shown,
            hint="give --out datasets/NAME",
        )


def _require_same_organisation(request: PrepareRequest, old: Mapping[str, Any], shown: str) -> None:
    owner = old.get("org")
    if request.from_feedback and owner and owner != request.org:
        raise InvalidInput(
            f"belongs to organisation '{owner}'",
            where=shown,
            hint=f"add --org {owner} for its feedback, or choose another --out",
        )


def _locate_out(yard: Yard, out: str) -> Path:
    """The dataset's folder. A name, or `datasets/NAME`, means the yard's."""
    name = out.rstrip("/").removeprefix("datasets/")
    if "/" not in name or ".." in Path(out).parts:
        folder = yard.dataset(name)
        yard.contain(folder, "dataset")
        return folder
    folder = Path(out).expanduser().resolve()
    check_name(folder.name, "dataset")
    return folder


def _find_sources(yard: Yard, request: PrepareRequest, folder: Path) -> Sequence[Source]:
    """Every file to read, or the feedback that the dataset has used and may use."""
    if request.from_feedback:
        return [FeedbackSource(choose_feedback(yard, folder.name, request.org))]
    return find_files(yard, request.sources, folder, request.columns)


def _load_old_card(folder: Path, shown: str) -> dict[str, Any]:
    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    front: dict[str, Any] = load_card(path, name=f"{shown}/{CARD_FILE}").front.value
    return front


def _asked(
    request: PrepareRequest, sources: Sequence[Source], old: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides the result, as the card records it."""
    columns = request.columns
    return {
        "org": request.org or old.get("org"),
        "licence": request.licence or old.get("licence"),
        "prepared_by": f"modelyard {__version__}",
        "prepared_from": [{"path": one.shown, "sha256": one.sha256} for one in sources],
        "options": {
            "evaluation_share": request.evaluation_share,
            "prompt": columns.prompt if columns else None,
            "answer": columns.answer if columns else None,
            "system": columns.system if columns else None,
            "label": columns.label if columns else None,
            "drop_sensitive": request.drop_sensitive,
            "skip_bad_rows": request.skip_bad_rows,
        },
    }


def _is_unchanged(
    folder: Path,
    shown: str,
    old: Mapping[str, Any],
    asked: Mapping[str, Any],
    sources: Sequence[Source],
    *,
    force: bool,
) -> bool:
    """Whether the folder holds what is asked. Raises InvalidInput if writing would lose work."""
    present = [file for file in (TRAIN_FILE, EVALUATION_FILE) if (folder / file).exists()]
    written = old.get("files")
    if force or not present or old.get("unfinished"):
        return False
    if not isinstance(written, dict):
        raise InvalidInput(
            f"holds {' and '.join(present)}, which prepare-data did not write",
            where=shown,
            hint="choose another --out, or add --force to replace them",
        )
    edited = [file for file in present if sha256_file(folder / file) != written.get(file)]
    if edited:
        raise InvalidInput(
            f"{' and '.join(edited)} changed since prepare-data wrote them",
            where=shown,
            hint="choose another --out, or add --force to replace them",
        )
    before = [{key: one[key] for key in ("path", "sha256")} for one in old["prepared_from"]]
    gone = {one["path"] for one in before} - {one["path"] for one in asked["prepared_from"]}
    if gone:
        raise InvalidInput(
            f"was prepared from other sources: {', '.join(sorted(gone))}",
            where=shown,
            hint="name them too, choose another --out, or add --force to replace the rows",
        )
    for source in sources:
        if isinstance(source, FeedbackSource) and not source.continues(old["prepared_from"][0]):
            raise InvalidInput(
                "was prepared from feedback that is no longer in the yard's state",
                where=shown,
                hint="restore the state, choose another --out, or add --force to replace the rows",
            )
    recorded = {**{key: old.get(key) for key in asked}, "prepared_from": before}
    return recorded == asked and len(present) == len(written)


# The work.


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


def _claim(yard: Yard, name: str, sources: Sequence[Source]) -> None:
    if chosen := _chosen_feedback(sources):
        claim_feedback(yard, name, chosen)


def _chosen_feedback(sources: Sequence[Source]) -> Sequence[FeedbackRow]:
    return [row for one in sources if isinstance(one, FeedbackSource) for row in one.chosen]


def _read_sources(
    sources: Sequence[Source], request: PrepareRequest, progress: Progress
) -> tuple[list[Conversation], list[Problem], list[Mapping[str, Any]]]:
    """All rows, all bad rows, and what the card says of each source."""
    rows: list[Conversation] = []
    problems: list[Problem] = []
    facts: list[Mapping[str, Any]] = []
    for source in sources:
        progress.stage(f"read {source.shown}")
        found = source.read()
        facts.append(found.facts)
        rows += found.rows
        problems += found.bad
    if problems and not request.skip_bad_rows:
        raise ProblemsFound(
            f"{len(problems):,} {'problem' if len(problems) == 1 else 'problems'} in the sources; "
            "nothing was written",
            problems,
            hint="correct them, or add --skip-bad-rows to leave these rows out",
        )
    return rows, problems, facts


def _build(
    name: str,
    shown: str,
    rows: Sequence[Conversation],
    bad: Sequence[Problem],
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


def _write(
    folder: Path,
    asked: Mapping[str, Any],
    facts: Sequence[Mapping[str, Any]],
    result: PreparedData,
    train: Sequence[Conversation],
    evaluation: Sequence[Conversation],
) -> None:
    files = {TRAIN_FILE: _jsonl(train), EVALUATION_FILE: _jsonl(evaluation)}
    if not evaluation:
        del files[EVALUATION_FILE]
    texts = [turn.content for one in (*train, *evaluation) for turn in one.messages]
    sources = zip(asked["prepared_from"], facts, strict=True)
    front = {
        "name": result.name,
        "org": asked["org"],
        "licence": asked["licence"],
        "created_at": utc_now(),
        "rows": {"train": result.train_rows, "eval": result.evaluation_rows},
        "words": sum(len(text.split()) for text in texts),
        "characters": sum(map(len, texts)),
        "fingerprint": result.fingerprint,
        "removed_duplicates": result.removed_duplicates,
        "near_duplicates": len(result.near_duplicates),
        "flagged": {
            "secrets": sum(finding.is_secret for finding in result.flagged),
            "e-mail addresses": sum(not finding.is_secret for finding in result.flagged),
        },
        "dropped_sensitive": result.dropped_sensitive,
        "bad_rows": len(result.bad_rows),
        "prepared_by": asked["prepared_by"],
        "prepared_from": [{**source, **more} for source, more in sources],
        "options": asked["options"],
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    body = render_body(result, train, asked["org"])
    # A disk that fills up does so in the staging folder; from there on there are only renames.
    staging = folder / f"{STAGING_PREFIX}{os.getpid():x}-prepared"
    sweep_staging(folder)
    with disk_errors(folder / CARD_FILE):
        for file, data in files.items():
            write_atomic(staging / file, data)
        write_card(staging / CARD_FILE, front, body)
        write_card(folder / CARD_FILE, {"unfinished": True, **front}, body)
        if EVALUATION_FILE not in files:
            (folder / EVALUATION_FILE).unlink(missing_ok=True)
        for file in (*files, CARD_FILE):
            (staging / file).replace(folder / file)
        staging.rmdir()
        sync_folder(folder)


def _jsonl(rows: Sequence[Conversation]) -> bytes:
    lines = [json.dumps(conversation_row(row), ensure_ascii=False) + "\n" for row in rows]
    return "".join(lines).encode()
