"""Recorded prompts: what was asked and answered, where `record_prompts` says so, and no longer.

Samples never hold texts; these rows do, under the answer's id. Secrets are masked before anything
is written. The file is readable by its owner only, what is removed is overwritten, and what is
older than the retention is removed by the next answer, recorded or not, and never read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelyard.answering.request import GivenText, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.core.clock import utc_now_ms
from modelyard.core.database import Database, transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.secrets.detection import redact_path, redact_secrets

_LONGEST_TEXT = 1_000_000
"""Characters of each text that are kept."""

_PROMPTS = Database(
    name="recorded-prompts",
    what="recorded prompts",
    place=lambda project: project.recorded_prompts,
    synchronous="NORMAL",
    migrations=(
        """
        CREATE TABLE prompts (
            answer_id       TEXT PRIMARY KEY,
            organisation    TEXT,
            recorded_at_ms  INTEGER NOT NULL, -- since 1970
            expires_at_ms   INTEGER NOT NULL,
            request         TEXT NOT NULL,    -- JSON: messages, system, files
            answer          TEXT NOT NULL
        ) STRICT;
        CREATE INDEX prompts_by_time ON prompts (recorded_at_ms);
        CREATE INDEX prompts_by_end ON prompts (expires_at_ms);
        CREATE INDEX prompts_by_organisation ON prompts (organisation);
        """,
    ),
    if_damaged="move it away: a new one is made, without the prompts so far",
    private=True,
    wait_s=5.0,
)
_OVER = "expires_at_ms <= :now OR recorded_at_ms <= :now - :retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPrompt:
    """A request and its answer, without their secrets."""

    answer_id: str
    """The id of the answer."""
    organisation: str | None
    """Who asked."""
    recorded_at_ms: int
    """When: milliseconds since 1970."""
    messages: tuple[Message, ...]
    """The turns; the last is the question."""
    system: str | None
    """The instructions of the request, after those of the domain."""
    files: tuple[GivenText, ...]
    """The files that it was about."""
    answer: str
    """What was answered."""


def record_prompt(
    project: Project, settings: RecordPrompts, request: Request, *, answer_id: str, answer: str
) -> str | None:
    """Record a request with its answer where that is wanted; remove those whose time is over.

    Returns why it is not recorded, in words, and never raises: an answer does not fail for it.
    """
    try:
        _record(project, settings, request, answer_id, answer)
    except (sqlite3.Error, ModelyardError, OSError) as error:
        return f"the prompt is not recorded: {error}"
    return None


def find_prompt(project: Project, answer_id: str) -> RecordedPrompt | None:
    """What was recorded of an answer; None where nothing was, or its time is over.

    Raises ModelyardError when the file is damaged.
    """
    if not project.recorded_prompts.exists():
        return None
    query = "SELECT * FROM prompts WHERE answer_id = ? AND expires_at_ms > ?"
    with _PROMPTS.open(project) as prompts:
        row = prompts.execute(query, (answer_id, utc_now_ms())).fetchone()
    return _read(row) if row else None


def count_prompts(project: Project, organisation: str) -> int:
    """How many recorded prompts an organisation has. Raises ModelyardError as `find_prompt`."""
    if not project.recorded_prompts.exists():
        return 0
    query = "SELECT count(*) FROM prompts WHERE organisation = ?"
    with _PROMPTS.open(project) as prompts:
        return int(prompts.execute(query, (organisation,)).fetchone()[0])


def forget_prompts(project: Project, organisation: str) -> int:
    """Remove all of an organisation, so that their text is nowhere in the file; how many.

    Again after it was interrupted, it completes. Raises ModelyardError when the file cannot be
    written, or another process still reads from its log.
    """
    query = "DELETE FROM prompts WHERE organisation = ?"
    return _PROMPTS.delete_for_good(project, (query, (organisation,)))


def _record(
    project: Project, settings: RecordPrompts, request: Request, answer_id: str, answer: str
) -> None:
    if not settings.enabled and not project.recorded_prompts.exists():
        return
    now, retention = utc_now_ms(), int(settings.retention_s * 1000)
    over = {"now": now, "retention": retention}
    row: tuple[Any, ...] = ()
    if settings.enabled:
        times = (now, now + retention)
        row = (answer_id, request.organisation, *times, _write(request), _masked(answer))
    with _PROMPTS.open(project) as prompts:
        if row:
            prompts.execute("INSERT OR REPLACE INTO prompts VALUES (?, ?, ?, ?, ?, ?)", row)
        if not prompts.execute(f"SELECT 1 FROM prompts WHERE {_OVER} LIMIT 1", over).fetchone():
            return
        with transaction(prompts):
            prompts.execute(f"DELETE FROM prompts WHERE {_OVER}", over)
        with suppress(ModelyardError):  # read by another process: the next removal empties it
            _PROMPTS.empty_log(project, prompts)


def _write(request: Request) -> str:
    return json.dumps(
        {
            "messages": [[turn.role, _masked(turn.content)] for turn in request.messages],
            "system": request.system and _masked(request.system),
            "files": [[redact_path(file.name), _masked(file.text)] for file in request.files],
        }
    )


def _masked(text: str) -> str:
    return redact_secrets(text.encode("utf-8", "replace").decode())[:_LONGEST_TEXT]


def _read(row: sqlite3.Row) -> RecordedPrompt | None:
    try:
        request: Mapping[str, Any] = parse_json(row["request"])
        return RecordedPrompt(
            answer_id=row["answer_id"],
            organisation=row["organisation"],
            recorded_at_ms=row["recorded_at_ms"],
            messages=tuple(Message(role, text) for role, text in request["messages"]),
            system=request["system"],
            files=tuple(GivenText(name=name, text=text) for name, text in request["files"]),
            answer=row["answer"],
        )
    except (InvalidJson, KeyError, TypeError, ValueError):  # another version wrote it differently
        return None
