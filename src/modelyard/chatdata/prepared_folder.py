"""The folder that prepare-data writes: its card, its files, and whether it must be written again.

A reader never gets a mixture of two preparations: the card says `unfinished` from before the first
file is renamed into the folder until after the last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.chatdata.conversation import Conversation, conversation_row
from modelyard.chatdata.dataset import CARD_FILE, EVALUATION_FILE, TRAIN_FILE
from modelyard.chatdata.kept_back import recorded_row_options
from modelyard.chatdata.prepared_result import FeedbackUse, PreparedData
from modelyard.chatdata.sources import FeedbackSource, RowOptions, RowSource
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, group_equal
from modelyard.core.files import (
    STAGING_PREFIX,
    disk_errors,
    sha256_file,
    sweep_staging,
    sync_path,
    write_atomic,
)
from modelyard.core.wording import counted, visible_text
from modelyard.settings.cards import write_card

_LISTED = 50
_SAMPLES = 3


def is_unchanged(
    folder: Path,
    shown: str,
    old: Mapping[str, Any],
    asked: Mapping[str, Any],
    sources: Sequence[RowSource],
    *,
    force: bool,
) -> bool:
    """Whether the folder already holds what is asked for.

    Raises InvalidInput if writing would overwrite work that prepare-data did not do.
    """
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
    before = [{key: entry[key] for key in ("path", "sha256")} for entry in old["prepared_from"]]
    gone = {entry["path"] for entry in before} - {entry["path"] for entry in asked["prepared_from"]}
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
    # A card of an older version lacks the options that came since.
    options = {**recorded_row_options(RowOptions()), **(old.get("options") or {})}
    recorded = {key: old.get(key) for key in asked} | {"prepared_from": before, "options": options}
    return recorded == asked and len(present) == len(written)


def write_prepared(
    folder: Path,
    asked: Mapping[str, Any],
    facts: Sequence[Mapping[str, Any]],
    result: PreparedData,
    train: Sequence[Conversation],
    evaluation: Sequence[Conversation],
) -> None:
    """Replace the rows and the card in the folder, with renames only."""
    sides = {TRAIN_FILE: train, EVALUATION_FILE: evaluation}
    files = {file: _jsonl(rows) for file, rows in sides.items() if rows}
    texts = [turn.content for row in (*train, *evaluation) for turn in row.messages]
    front = {
        "name": result.name,
        "org": asked["org"],
        "licence": asked["licence"],
        **({"local_only": True} if asked.get("local_only") else {}),
        "created_at": utc_now(),
        "rows_read": result.rows_read,
        "rows": {"train": result.train_rows, "eval": result.evaluation_rows},
        "words": sum(len(text.split()) for text in texts),
        "characters": sum(map(len, texts)),
        "fingerprint": result.fingerprint,
        "removed_duplicates": result.removed_duplicates,
        "near_duplicates": len(result.near_duplicates),
        "flagged": {
            "secrets": sum(found.is_secret for found in result.flagged),
            "e-mail addresses": sum(not found.is_secret for found in result.flagged),
        },
        "dropped_sensitive": result.dropped_sensitive,
        "bad_rows": result.bad_row_count,
        "stripped_rows": result.stripped_rows,
        "unused_keys": {found.path: found.rows for found in result.unused_keys},
        "notes": list(result.notes),
        "prepared_by": asked["prepared_by"],
        "prepared_from": [
            {**source, **recorded}
            for source, recorded in zip(asked["prepared_from"], facts, strict=True)
        ],
        "options": asked["options"],
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    body = _render_body(result, train, asked["org"])
    # A full disk fails in the staging folder; after that there are only renames.
    staging = folder / f"{STAGING_PREFIX}{os.getpid():x}-prepared"
    sweep_staging(folder)
    with disk_errors(folder / CARD_FILE):
        try:
            for file, data in files.items():
                write_atomic(staging / file, data)
            write_card(staging / CARD_FILE, front, body)
            write_card(folder / CARD_FILE, {"unfinished": True, **front}, body)
            if EVALUATION_FILE not in files:
                (folder / EVALUATION_FILE).unlink(missing_ok=True)
            for file in (*files, CARD_FILE):
                (staging / file).replace(folder / file)
        finally:  # what a full disk cut off takes no space until the next run
            shutil.rmtree(staging, ignore_errors=True)
        sync_path(folder)


def _jsonl(rows: Sequence[Conversation]) -> bytes:
    rendered = (json.dumps(conversation_row(row), ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in rendered).encode()


def _render_body(result: PreparedData, train: Sequence[Conversation], org: str | None) -> str:
    """The page below the front matter; flagged rows are never shown as samples."""
    flagged = {found.source for found in result.flagged}
    harmless = [row for row in train if row.source not in flagged]
    sections = [
        f"# {result.name}",
        f"{counted(result.train_rows, 'training row')} in `{TRAIN_FILE}`, and "
        f"{counted(result.evaluation_rows, 'evaluation row')} in `{EVALUATION_FILE}`. "
        "`models prepare-data` wrote this page, and replaces it when it runs again.",
        _origin(result.feedback, org),
        result.sum_of_rows,
        f"Train on it:\n\n    {result.next_command}",
        "## Samples\n\n" + "\n\n".join(map(_sample, harmless[:_SAMPLES])),
        _listing("Near-duplicates between train and eval", list(map(str, result.near_duplicates))),
        _listing("Secrets and e-mail addresses", list(map(str, result.flagged))),
        _listing("Keys that are kept and not learned", list(map(str, result.unused_keys))),
        _listing("Texts", list(result.notes)),
        _listing("Bad rows, left out", list(map(str, group_equal(result.bad_rows)))),
    ]
    return visible_text("\n\n".join(section for section in sections if section))


def _origin(feedback: FeedbackUse | None, org: str | None) -> str:
    if feedback is None:
        return ""
    owner = f"organisation {org}" if org else "no organisation"
    return (
        f"They come from recorded feedback of {owner} ({feedback}): the correction where there is "
        "one, else the answer that was rated good. `models feedback list` shows the rows."
    )


def _sample(row: Conversation) -> str:
    turns = (f"**{turn.role}:** {_shortened(turn.content)}" for turn in row.messages)
    return "> " + "\n>\n> ".join(turns)


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else f"{flat[:299]}…"


def _listing(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"- {line}" for line in lines[:_LISTED]]
    if len(lines) > _LISTED:
        shown.append(f"- and {len(lines) - _LISTED:,} more")
    return f"## {title}\n\n" + "\n".join(shown)
