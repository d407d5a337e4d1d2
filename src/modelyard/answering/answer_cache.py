"""The answer cache: answers that were given before, each kept for its own organisation.

A key is an organisation and a digest of all that decides an answer, so nothing of one organisation
is ever given to another, nor an answer of one model for another's. The cache may be deleted at any
time. One that is damaged, locked or on a full disk is no cache, and never a reason to fail.

The file is readable by its owner only, and what is removed from it is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from modelyard.answering.prompt import wanted_schema
from modelyard.answering.request import Answer, Request, UsedChunk
from modelyard.chatdata.conversation import Message, message_dicts
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.core.clock import utc_now_ms
from modelyard.core.database import Database, DatabaseDamaged, transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.secrets.detection import redact_secrets

if TYPE_CHECKING:
    from modelyard.modelrefs.local_model import LocalModel

MOST_BYTES = 64_000_000
"""The most bytes of answers that are kept; the oldest make room for new ones."""
_FORMAT = 1
"""Increased when a prompt is built differently, or an answer is stored differently."""

_CACHE = Database(
    name="answer-cache",
    what="answer cache",
    place=lambda project: project.answer_cache,
    synchronous="NORMAL",
    migrations=(
        """
        CREATE TABLE answers (
            organisation  TEXT NOT NULL,      -- '' for none
            key           TEXT NOT NULL,
            kept_at_ms    INTEGER NOT NULL,   -- since 1970
            expires_at_ms INTEGER NOT NULL,
            answer        TEXT NOT NULL,      -- JSON
            PRIMARY KEY (organisation, key)
        ) STRICT;
        CREATE INDEX answers_by_time ON answers (kept_at_ms);
        CREATE INDEX answers_by_end ON answers (expires_at_ms);
        """,
    ),
    if_damaged="remove it: without it, answers are only given anew",
    private=True,
    wait_s=1.0,
)
_NO_CACHE = (sqlite3.Error, ModelyardError, OSError)
"""What may go wrong with a cache; the answer is then given without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer from before, as far as it is the same for whoever asks again."""

    id: str
    """The answer that it was."""
    text: str
    """What was answered."""
    model: str
    """The language model that answered."""
    ref: str
    """What answered, as `ModelRef.parse` reads it."""
    adapter_digest: str | None
    """The adapter that answered."""
    stop_sequence: str | None
    """The text that ended it, where one did."""
    samples: int
    """Answers that were drawn."""
    agreed: int
    """How many of them were this one."""
    chunks: tuple[UsedChunk, ...]
    """What was retrieved for it."""


def answer_key(
    effective: Effective,
    model: EffectiveModel,
    request: Request,
    messages: Sequence[Message],
    *,
    weights: str | None = None,
    adapter_digest: str | None = None,
) -> str:
    """The digest, in hex, of all that decides a model's answer.

    messages: what the model is sent, with the chunks and files in it.
    weights: the fingerprint of a local base.  adapter_digest: of the adapter's version on it.
    """
    settings = model.settings
    decisive = {
        "format": _FORMAT,
        "provider": settings.provider,
        "model": settings.model,
        "endpoint": settings.url,
        "weights": weights,
        "adapter": adapter_digest,
        "generation": asdict(settings.generation),
        "samples": effective.samples,
        "schema": wanted_schema(effective, request),
        "messages": message_dicts(messages),
        **({"tools": request.tools, "choice": str(request.tool_choice)} if request.tools else {}),
    }
    written = json.dumps(decisive, sort_keys=True, default=str)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


def cache_key(
    effective: Effective,
    model: EffectiveModel,
    request: Request,
    messages: Sequence[Message],
    local: LocalModel | None,
) -> str | None:
    """The key of what a model answers; None where nothing is kept, or its weights are not known."""
    if not effective.cache.enabled:
        return None
    if model.settings.provider == "local" and local is None:
        return None
    return answer_key(
        effective,
        model,
        request,
        messages,
        weights=local.base.fingerprint if local else None,
        adapter_digest=local.version.manifest.digest if local and local.version else None,
    )


def find(
    project: Project, settings: AnswerCache, organisation: str | None, key: str
) -> KeptAnswer | None:
    """The answer that was kept under a key for this organisation, within the lifetime.

    One whose own lifetime was shorter is not given after that, nor one from the future.
    """
    if not settings.enabled or not project.answer_cache.exists():
        return None
    query = (
        "SELECT kept_at_ms, expires_at_ms, answer FROM answers WHERE organisation = ? AND key = ?"
    )
    now = utc_now_ms()
    with suppress(*_NO_CACHE), _CACHE.open(project) as cache:
        row = cache.execute(query, (organisation or "", key)).fetchone()
        if row and row[0] <= now < min(row[1], row[0] + settings.lifetime_s * 1000):
            return _read(row[2])
    return None


def keep(
    project: Project,
    settings: AnswerCache,
    organisation: str | None,
    key: str,
    answer: Answer,
    *,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Keep an answer that a model gave and ended by itself; any other is not kept.

    Nor is one in which something looks like a secret: no file is to have it.

    Answers whose lifetime is over are removed, and the oldest ones where the file would have more
    than `most_bytes` in use.
    """
    if not settings.enabled or answer.degraded or answer.from_cache or answer.finish != "stop":
        return
    written = _write(answer)
    if len(written) > most_bytes // 8 or redact_secrets(answer.text) != answer.text:
        return
    now = utc_now_ms()
    row = (organisation or "", key, now, now + int(settings.lifetime_s * 1000), written)
    with suppress(*_NO_CACHE), _CACHE.open(project) as cache, transaction(cache):
        cache.execute("DELETE FROM answers WHERE expires_at_ms <= ?", (now,))
        cache.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
        if _used_bytes(cache) > most_bytes:
            _make_room(cache, most_bytes)


def count_kept(project: Project, organisation: str) -> int:
    """How many answers of an organisation there are; 0 in a damaged cache.

    Raises ModelyardError when the file cannot be read.
    """
    if not project.answer_cache.exists():
        return 0
    query = "SELECT count(*) FROM answers WHERE organisation = ?"
    with suppress(DatabaseDamaged), _CACHE.open(project) as cache:
        return int(cache.execute(query, (organisation,)).fetchone()[0])
    return 0


def purge(project: Project, organisation: str) -> int:
    """Remove all answers of an organisation, so that their text is nowhere in the file.

    Returns how many there were. A damaged cache is removed as a whole. Raises ModelyardError when
    the file cannot be written: unlike an answer, a removal must not fail in silence.
    """
    query = "DELETE FROM answers WHERE organisation = ?"
    try:
        return _CACHE.delete_for_good(project, (query, (organisation,)))
    except DatabaseDamaged:
        _CACHE.remove(project)
        return 0


def _make_room(cache: sqlite3.Connection, most_bytes: int) -> None:
    """Remove the oldest answers, a tenth of them at a time."""
    oldest = (
        "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers ORDER BY kept_at_ms, rowid "
        "LIMIT (SELECT 1 + count(*) / 10 FROM answers))"
    )
    while _used_bytes(cache) > most_bytes and cache.execute(oldest).rowcount:
        pass


def _used_bytes(cache: sqlite3.Connection) -> int:
    pages, free, size = (
        int(cache.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


_NAMES = [field.name for field in fields(KeptAnswer)]


def _write(answer: Answer) -> str:
    values = {name: getattr(answer, name) for name in _NAMES}
    return json.dumps({**values, "chunks": [asdict(chunk) for chunk in answer.chunks]})


def _read(written: str) -> KeptAnswer | None:
    """The answer of a row; None for one that another version wrote differently."""
    try:
        values: Mapping[str, Any] = parse_json(written)
        chunks = tuple(UsedChunk(**chunk) for chunk in values["chunks"])
        return KeptAnswer(**{name: values[name] for name in _NAMES} | {"chunks": chunks})
    except (InvalidJson, KeyError, TypeError):
        return None
