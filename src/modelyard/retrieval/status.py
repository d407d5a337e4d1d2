"""The status of an index: whether its files changed since it was updated. Changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.encoders import encoder_fingerprint
from modelyard.results.json_form import published
from modelyard.retrieval.damage import IndexMissing
from modelyard.retrieval.index_file import IndexMeta, open_index
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.language import find_language_problem
from modelyard.retrieval.reading.sources import find_sources
from modelyard.retrieval.updating.earlier import why_outdated
from modelyard.retrieval.updating.files import can_be_read, has_changed
from modelyard.weights.encoders import EncoderUnavailable

State = Literal["current", "stale", "outdated", "missing", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """One index compared with its files."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME."""
    state: State
    """stale: files changed since; outdated: made by another encoder or with other chunking."""
    encoder: str
    """The encoder that the config names."""
    reason: str | None = None
    """Why it is outdated or unreadable."""
    language: str | None = None
    """What is wrong where its text is mostly in another language than its encoder reads."""
    files: int = 0
    """Files in it."""
    chunks: int = field(default=0, metadata=published("passages"))
    """Chunks in it."""
    size_bytes: int = 0
    """Its size on the disk."""
    updated_at: str | None = None
    """When it last changed, UTC."""
    stale_s: float = 0.0
    """For how long it has been out of date; 0 when it is current."""
    new: Sequence[str] = field(default_factory=tuple)
    """Files that are not in it yet."""
    changed: Sequence[str] = field(default_factory=tuple)
    """Files whose content changed."""
    gone: Sequence[str] = field(default_factory=tuple)
    """Files that no longer exist."""
    path: str
    """Its file, from the project's root."""
    environments: Sequence[str] = field(default_factory=tuple)
    """The environments that search this file."""

    def breaches(self, max_age_s: float) -> bool:
        """Whether a search could answer from an index that has been out of date for longer."""
        return self.state in ("missing", "unreadable", "outdated") or self.stale_s > max_age_s


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatuses:
    """The search indexes, compared with their files."""

    indexes: tuple[IndexStatus, ...] = field(metadata=published("domains"))
    """Each index that was asked for."""


def read_status(
    project: Project, index: SearchIndex, *, environments: Sequence[str] = ()
) -> IndexStatus:
    """Compare an index with its files; all of the index is read and checked.

    environments: those that share it, which the status says.
    """
    encoder, path = index.encoder.model, index.readable_path
    try:
        size_bytes = path.stat().st_size if path.exists() else 0
        with open_index(path) as reader:
            reader.check()
            meta, chunks = reader.meta, reader.count_chunks()
            known = {file.path: file for file in reader.files()}
            language = find_language_problem(index, reader)
    except ModelyardError as error:
        missing = isinstance(error, IndexMissing)
        return IndexStatus(
            index=index.label,
            state="missing" if missing else "unreadable",
            encoder=encoder,
            reason=None if missing else error.message,
            path=project.show(path),
            environments=environments,
        )
    sizes = {path: (file.size_bytes, file.mtime_ns) for path, file in known.items()}
    sources = {source.shown: source for source in find_sources(project, index, known=sizes).files}
    new = [
        path
        for path, source in sources.items()
        if path not in known and can_be_read(source, index.settings)
    ]
    gone = [path for path in known if path not in sources]
    changed = [
        path
        for path, source in sources.items()
        if path in known and has_changed(source, known[path])
    ]
    outdated = _why_outdated(project, meta, index)
    return IndexStatus(
        index=index.label,
        state="outdated" if outdated else "stale" if new or gone or changed else "current",
        encoder=encoder,
        reason=outdated,
        language=language,
        files=len(known),
        chunks=chunks,
        size_bytes=size_bytes,
        updated_at=meta.updated_at,
        stale_s=_stale_s(
            [_entered_s(sources[path].path) for path in (*new, *changed)]
            + [_folder_changed_s(project.root / path) for path in gone]
        ),
        new=new,
        changed=changed,
        gone=gone,
        path=project.show(path),
        environments=environments,
    )


def _why_outdated(project: Project, meta: IndexMeta, index: SearchIndex) -> str | None:
    try:
        return why_outdated(index, meta, encoder_fingerprint(project, index.encoder))
    except EncoderUnavailable:
        return "its encoder is not on this machine"


def _stale_s(changes: Sequence[float]) -> float:
    """Seconds since the first of these changes; 0 without one."""
    return max(0.0, time.time() - min(changes)) if changes else 0.0


def _entered_s(path: str) -> float:
    """When a file got its content or its place: one that was moved here keeps its old mtime."""
    try:
        return os.stat(path).st_ctime  # noqa: PTH116
    except OSError:
        return time.time()


def _folder_changed_s(path: Path) -> float:
    """When an entry was last added to or removed from the nearest folder that still exists."""
    return next(folder for folder in path.parents if folder.is_dir()).stat().st_mtime
