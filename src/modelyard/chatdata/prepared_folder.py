"""The folder that prepare-data writes: whether it holds what is asked, and how it comes to.

A reader never takes a mixture of two preparations: the card says `unfinished` from before the first
file moves in until after the last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard import __version__
from modelyard.chatdata.conversation import Conversation, conversation_row
from modelyard.chatdata.dataset import CARD_FILE, EVALUATION_FILE, TRAIN_FILE
from modelyard.chatdata.prepare_request import PrepareRequest
from modelyard.chatdata.prepared import PreparedData, render_body
from modelyard.chatdata.sources import FeedbackSource, Source
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.files import (
    STAGING_PREFIX,
    disk_errors,
    sha256_file,
    sweep_staging,
    sync_folder,
    write_atomic,
)
from modelyard.settings.cards import load_card, write_card


def load_old_card(folder: Path, shown: str) -> dict[str, Any]:
    """What the card of the folder says; nothing when it has none."""
    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    front: dict[str, Any] = load_card(path, name=f"{shown}/{CARD_FILE}").front.value
    return front


def require_same_organisation(request: PrepareRequest, old: Mapping[str, Any], shown: str) -> None:
    """Keep one organisation's feedback out of another's dataset."""
    owner = old.get("org")
    if request.from_feedback and owner and owner != request.org:
        raise InvalidInput(
            f"belongs to organisation '{owner}'",
            where=shown,
            hint=f"add --org {owner} for its feedback, or choose another --out",
        )


def asked_front(
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


def is_unchanged(
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
                "was prepared from feedback that is no longer in the project's state",
                where=shown,
                hint="restore the state, choose another --out, or add --force to replace the rows",
            )
    recorded = {**{key: old.get(key) for key in asked}, "prepared_from": before}
    return recorded == asked and len(present) == len(written)


def write_prepared(
    folder: Path,
    asked: Mapping[str, Any],
    facts: Sequence[Mapping[str, Any]],
    result: PreparedData,
    train: Sequence[Conversation],
    evaluation: Sequence[Conversation],
) -> None:
    """Show the rows and the card in the folder, in place of what was there."""
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
