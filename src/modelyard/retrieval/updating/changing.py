"""An index that is changed in place: only what is new is cut and embedded, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import IndexedChunk, IndexedFile, IndexReader, open_index
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.revise import Changes, FileChange, FileRecord, apply_changes
from modelyard.retrieval.updating.comparing import looks_the_same, same_content
from modelyard.retrieval.updating.cutting import CutFile
from modelyard.retrieval.updating.job import UpdateJob

_MOST_IN_ONE_TRANSACTION = 50_000
"""Chunks; more of them are built beside the old index, where memory has a bound."""


class TooManyChanges(Exception):
    """The changes do not fit into one transaction."""


@dataclass(slots=True)
class _Found:
    """The files of an index beside those that its index knows."""

    cut: list[tuple[CutFile, IndexedFile | None]] = field(default_factory=list)
    """Files that are new or have other bytes, each with what the index has under its path."""
    touched: dict[int, FileRecord] = field(default_factory=dict)
    """Files of equal bytes that the file system describes otherwise now."""
    kept: set[str] = field(default_factory=set)
    """Paths whose chunks stay."""


def change_index(
    job: UpdateJob, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
) -> None:
    """Write what changed since the index was last in step, or on a dry run only count it.

    Raises TooManyChanges when the index should be built anew; nothing was written then.
    """
    found = _find_changes(job, files, known)
    with open_index(job.index.path) as reader:
        changes = _build_changes(job, reader, found, known)
        _count_kept(job, reader, len(found.kept))
    added = [chunk for change in changes.files for chunk in change.added]
    vectors: dict[str, bytes] = {}
    if added:
        with job.embedding() as embedding:
            if job.update.dry_run:
                embedding.count(added)
            else:
                vectors = embedding.vectors(added)
    if not job.update.dry_run and (changes.content_changes or changes.touched):
        apply_changes(job.index.path, changes, vectors)


def _find_changes(
    job: UpdateJob, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
) -> _Found:
    found = _Found()
    chunks = 0
    for source in files:
        before = known.get(source.shown)
        if before is not None:
            if looks_the_same(source, before):
                found.kept.add(before.path)
                continue
            if same := same_content(source, before):
                found.kept.add(before.path)
                found.touched[before.id] = same
                continue
        cut = job.cut(source)
        if cut is None:
            continue
        found.cut.append((cut, before))
        chunks += len(cut.chunks)
        if chunks > _MOST_IN_ONE_TRANSACTION:
            raise TooManyChanges
    return found


def _build_changes(
    job: UpdateJob, reader: IndexReader, found: _Found, known: Mapping[str, IndexedFile]
) -> Changes:
    """What is to be written; a new file with the bytes of one that is gone has moved."""
    present = found.kept | {cut.record.path for cut, _ in found.cut}
    gone: defaultdict[str, list[IndexedFile]] = defaultdict(list)
    for path, one in known.items():
        if path not in present:
            gone[one.sha256].append(one)
    counts = job.update.files
    files: list[FileChange] = []
    for cut, before in found.cut:
        waiting = gone[cut.record.sha256] if before is None else []
        if before is not None:
            counts.changed += 1
            files.append(_compare_chunks(job, reader, cut, before, moved=False))
        elif waiting:
            counts.moved += 1
            files.append(_compare_chunks(job, reader, cut, waiting.pop(0), moved=True))
        else:
            counts.added += 1
            job.update.chunks.added += len(cut.chunks)
            files.append(FileChange(record=cut.record, file_id=None, added=cut.chunks))
    rest = [one.id for some in gone.values() for one in some]
    counts.removed += len(rest)
    job.update.chunks.removed += sum(len(reader.chunks_of_file(one)) for one in rest)
    return Changes(files=files, gone=rest, touched=found.touched)


def _compare_chunks(
    job: UpdateJob, reader: IndexReader, cut: CutFile, before: IndexedFile, *, moved: bool
) -> FileChange:
    """Which chunks of a file stay, which stand elsewhere now, which come and go."""
    waiting: defaultdict[tuple[str, str], list[IndexedChunk]] = defaultdict(list)
    for one in reader.chunks_of_file(before.id):
        waiting[one.title, one.text].append(one)
    added: list[Chunk] = []
    shifted: list[tuple[int, Chunk]] = []
    reused = 0
    for chunk in cut.chunks:
        same = waiting[chunk.title, chunk.text]
        if not same:
            added.append(chunk)
            continue
        earlier = same.pop(0)
        if _description(earlier) != _description(chunk):
            shifted.append((earlier.id, chunk))
        else:
            reused += 1
    removed = [one.id for some in waiting.values() for one in some]
    changed = min(len(added), len(removed))
    counts = job.update.chunks
    counts.added += len(added) - changed
    counts.changed += changed
    counts.removed += len(removed) - changed
    counts.moved += len(shifted) + (reused if moved else 0)
    counts.reused += 0 if moved else reused
    return FileChange(
        record=cut.record, file_id=before.id, added=added, moved=shifted, removed=removed
    )


def _description(chunk: Chunk | IndexedChunk) -> tuple[object, ...]:
    return chunk.kind, chunk.first_line, chunk.last_line, dict(chunk.facts)


def _count_kept(job: UpdateJob, reader: IndexReader, kept_files: int) -> None:
    job.update.files.reused += kept_files
    counts = job.update.chunks
    of_changed = counts.changed + counts.moved + counts.removed + counts.reused
    counts.reused += reader.count_chunks() - of_changed
