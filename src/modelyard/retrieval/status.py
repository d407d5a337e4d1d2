"""How far each index is from its files, without changing anything."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.encoders.opening import encoder_fingerprint
from modelyard.encoders.sources import EncoderUnavailable
from modelyard.retrieval.damage import IndexMissing
from modelyard.retrieval.index_file import IndexedFile, IndexMeta, open_index
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.reading.sources import SourceFile, find_sources
from modelyard.retrieval.updating.files import can_be_read, has_changed

State = Literal["current", "stale", "outdated", "missing", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """One index beside its files."""

    index: str
    """GROUP/NAME."""
    state: State
    """In step; with files that changed since; made by another encoder or chunking; or not there."""
    encoder: str
    """The encoder that the config names."""
    reason: str | None = None
    """Why it is outdated or unreadable."""
    files: int = 0
    """Files in it."""
    chunks: int = 0
    """Chunks in it."""
    size_bytes: int = 0
    """Its size on the disk."""
    updated_at: str | None = None
    """When it last changed, UTC."""
    stale_s: float = 0.0
    """For how long it has not been in step; 0 when it is."""
    new: Sequence[str] = field(default_factory=tuple)
    """Files that are not in it."""
    changed: Sequence[str] = field(default_factory=tuple)
    """Files whose content is another one now."""
    gone: Sequence[str] = field(default_factory=tuple)
    """Files that are no more."""

    def breaches(self, max_age_s: float) -> bool:
        """Whether a search may answer from what has been out of step for longer than that."""
        return self.state in ("missing", "unreadable", "outdated") or self.stale_s > max_age_s


def read_status(project: Project, index: SearchIndex) -> IndexStatus:
    """How one index stands to its files now; all of the index is read, and checked."""
    encoder = index.encoder.model
    try:
        size_bytes = index.path.stat().st_size if index.path.exists() else 0
        with open_index(index.path) as reader:
            reader.check()
            meta, chunks = reader.meta, reader.count_chunks()
            known = {one.path: one for one in reader.files()}
    except IndexMissing:
        return IndexStatus(index=index.label, state="missing", encoder=encoder)
    except ModelyardError as error:
        return IndexStatus(
            index=index.label, state="unreadable", encoder=encoder, reason=error.message
        )
    sizes = {one.path: (one.size_bytes, one.mtime_ns) for one in known.values()}
    files = {one.shown: one for one in find_sources(project, index, known=sizes).files}
    new = [
        path
        for path, one in files.items()
        if path not in known and can_be_read(one, index.settings)
    ]
    gone = [path for path in known if path not in files]
    changed = [
        path for path, one in files.items() if path in known and has_changed(one, known[path])
    ]
    outdated = _why_outdated(project, meta, index)
    stale = bool(new or gone or changed)
    return IndexStatus(
        index=index.label,
        state="outdated" if outdated else "stale" if stale else "current",
        encoder=encoder,
        reason=outdated,
        files=len(known),
        chunks=chunks,
        size_bytes=size_bytes,
        updated_at=meta.updated_at,
        stale_s=_stale_s(project, files, [*new, *changed], [known[path] for path in gone]),
        new=new,
        changed=changed,
        gone=gone,
    )


def _why_outdated(project: Project, meta: IndexMeta, index: SearchIndex) -> str | None:
    try:
        if meta.encoder != encoder_fingerprint(project, index.encoder):
            return "another encoder"
    except EncoderUnavailable:
        return "its encoder is not on this machine"
    return "other chunking" if meta.chunking != index.chunking else None


def _stale_s(
    project: Project,
    files: Mapping[str, SourceFile],
    written: Sequence[str],
    gone: Sequence[IndexedFile],
) -> float:
    """Seconds since the first change that the index has not seen.

    A file that was moved here keeps its old time, so the time of its entry (ctime) counts as well.
    """
    moments = [_entered_s(files[path].path) for path in written]
    moments += [_folder_changed_s(project.root / one.path) for one in gone]
    return max(0.0, time.time() - min(moments)) if moments else 0.0


def _entered_s(path: str) -> float:
    try:
        return os.stat(path).st_ctime  # noqa: PTH116
    except OSError:
        return time.time()


def _folder_changed_s(path: Path) -> float:
    """When the nearest folder that is left last lost or got an entry."""
    folder = next(place for place in path.parents if place.is_dir())
    return folder.stat().st_mtime
