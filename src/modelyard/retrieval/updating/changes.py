"""Writing an update: the changed files in one transaction, or a whole index beside the old one.

An index that begins as a copy of another is changed before it is seen at its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import (
    FileRecord,
    IndexedChunk,
    IndexedFile,
    IndexReader,
    open_index,
)
from modelyard.retrieval.index_writer import (
    Changes,
    FileChange,
    apply_changes,
    build_beside,
    copy_beside,
)
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.updating.earlier import Origin, find_earlier_vectors
from modelyard.retrieval.updating.files import (
    ChunkedFile,
    chunk_file,
    looks_the_same,
    same_content,
)
from modelyard.retrieval.updating.job import Counts, UpdateJob

_MOST_IN_ONE_TRANSACTION = 50_000
"""Chunks; with more of them the index is rebuilt, which needs a bounded amount of memory."""
_BUILT_AT_ONCE = 4_096
"""Chunks that are read before they are embedded, sorted by length."""


class TooManyChanges(Exception):
    """The changes do not fit into one transaction."""


@dataclass(slots=True)
class _Comparison:
    """The files on the disk compared with those in the index."""

    chunked: list[tuple[ChunkedFile, IndexedFile | None]] = field(default_factory=list)
    """Files that are new or have other bytes, each with what the index has under its path."""
    touched: dict[int, FileRecord] = field(default_factory=dict)
    """Files with the same bytes that the file system now describes differently."""
    kept: set[str] = field(default_factory=set)
    """Paths of the files whose chunks stay."""


def change_index(job: UpdateJob, files: Sequence[SourceFile], origin: Origin) -> None:
    """Write what changed since the last update, or on a dry run only count it.

    An index of other settings is copied first, and stays as it is.
    Raises TooManyChanges when the index should be rebuilt; nothing was written then.
    """
    comparison = _compare_files(job, files, origin.known)
    if job.update.dry_run or origin.path == job.index.path:
        _change(job, origin.path, comparison, origin.known)
    else:
        with copy_beside(job.index.path, origin.path) as copy:
            _change(job, copy, comparison, origin.known)


def _change(
    job: UpdateJob, path: Path, comparison: _Comparison, known: Mapping[str, IndexedFile]
) -> None:
    """Change the index at `path`, in one transaction."""
    with open_index(path) as reader:
        changes = _build_changes(job, reader, comparison, known)
        job.update.files.reused += len(comparison.kept)
        chunks = job.update.chunks
        of_changed = chunks.changed + chunks.moved + chunks.removed + chunks.reused
        chunks.reused += reader.count_chunks() - of_changed
    added = [chunk for change in changes.files for chunk in change.added]
    vectors: dict[str, bytes] = {}
    if added:
        elsewhere = partial(find_earlier_vectors, job) if job.update.taken_over else None
        with job.embedding(elsewhere) as embedding:
            if job.update.dry_run:
                embedding.count(added)
            else:
                vectors = embedding.vectors(added)
    if not job.update.dry_run and (changes.content_changes or changes.touched):
        apply_changes(path, changes, vectors)


def _compare_files(
    job: UpdateJob, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
) -> _Comparison:
    comparison = _Comparison()
    chunk_count = 0
    for source in files:
        before = known.get(source.shown)
        if before is not None:
            if looks_the_same(source, before):
                comparison.kept.add(before.path)
                continue
            if same := same_content(source, before):
                comparison.kept.add(before.path)
                comparison.touched[before.id] = same
                continue
        file = chunk_file(job, source)
        if file is None:
            continue
        comparison.chunked.append((file, before))
        chunk_count += len(file.chunks)
        if chunk_count > _MOST_IN_ONE_TRANSACTION:
            raise TooManyChanges
    return comparison


def _build_changes(
    job: UpdateJob, reader: IndexReader, comparison: _Comparison, known: Mapping[str, IndexedFile]
) -> Changes:
    """What to write; a new file with the bytes of a file that is gone was moved."""
    present = comparison.kept | {file.record.path for file, _ in comparison.chunked}
    gone: defaultdict[str, list[IndexedFile]] = defaultdict(list)
    for path, indexed in known.items():
        if path not in present:
            gone[indexed.sha256].append(indexed)
    counts, chunks = job.update.files, job.update.chunks
    changes: list[FileChange] = []
    for file, before in comparison.chunked:
        if before is not None:
            counts.changed += 1
            changes.append(_compare_chunks(chunks, reader, file, before, moved=False))
        elif same := gone[file.record.sha256]:
            counts.moved += 1
            changes.append(_compare_chunks(chunks, reader, file, same.pop(0), moved=True))
        else:
            counts.added += 1
            chunks.added += len(file.chunks)
            changes.append(FileChange(record=file.record, file_id=None, added=file.chunks))
    removed = [indexed.id for same in gone.values() for indexed in same]
    counts.removed += len(removed)
    chunks.removed += sum(len(reader.chunks_of_file(file_id)) for file_id in removed)
    return Changes(files=changes, gone=removed, touched=comparison.touched)


def _compare_chunks(
    counts: Counts, reader: IndexReader, file: ChunkedFile, before: IndexedFile, *, moved: bool
) -> FileChange:
    """Which chunks of a file stay, which have other lines now, which are new or gone."""
    earlier: defaultdict[tuple[str, str], list[IndexedChunk]] = defaultdict(list)
    for chunk_before in reader.chunks_of_file(before.id):
        earlier[chunk_before.title, chunk_before.text].append(chunk_before)
    added: list[Chunk] = []
    shifted: list[tuple[int, Chunk]] = []
    reused = 0
    for chunk in file.chunks:
        same = earlier[chunk.title, chunk.text]
        if not same:
            added.append(chunk)
            continue
        chunk_before = same.pop(0)
        if _description(chunk_before) != _description(chunk):
            shifted.append((chunk_before.id, chunk))
        else:
            reused += 1
    removed = [chunk.id for same in earlier.values() for chunk in same]
    changed = min(len(added), len(removed))
    counts.added += len(added) - changed
    counts.changed += changed
    counts.removed += len(removed) - changed
    counts.moved += len(shifted) + (reused if moved else 0)
    counts.reused += 0 if moved else reused
    return FileChange(
        record=file.record, file_id=before.id, added=added, moved=shifted, removed=removed
    )


def _description(chunk: Chunk) -> tuple[object, ...]:
    return chunk.kind, chunk.first_line, chunk.last_line, dict(chunk.facts)


def build_index(job: UpdateJob, files: Sequence[SourceFile], *, reuse: bool) -> None:
    """Read and embed every file, some thousand chunks at a time, and swap the index.

    reuse: take vectors that the cache does not know from the earlier files of the index.
    """
    with (
        job.embedding(partial(find_earlier_vectors, job) if reuse else None) as embedding,
        build_beside(
            job.index.path,
            encoder=job.encoders.fingerprint(job.index.encoder),
            dimensions=job.index.encoder.dimensions,
            chunking=job.index.chunking,
        ) as index,
    ):
        for group, share in _groups(job, files):
            chunks = (chunk for file in group for chunk in file.chunks)
            vectors = embedding.vectors(chunks, share=share)
            for file in group:
                index.add_file(file.record, file.chunks, vectors)


def count_build(job: UpdateJob, files: Sequence[SourceFile], *, reuse: bool) -> None:
    """Only count what `build_index` would do."""
    with job.embedding(partial(find_earlier_vectors, job) if reuse else None) as embedding:
        for group, _ in _groups(job, files):
            embedding.count(chunk for file in group for chunk in file.chunks)


def _groups(
    job: UpdateJob, files: Sequence[SourceFile]
) -> Iterator[tuple[list[ChunkedFile], float]]:
    """Files in groups of some thousand chunks, with the share of all bytes that is read by then."""
    total_bytes = sum(source.size for source in files) or 1
    group: list[ChunkedFile] = []
    chunk_count, read_bytes = 0, 0
    for source in files:
        file = chunk_file(job, source)
        read_bytes += source.size
        if file is None:
            continue
        group.append(file)
        chunk_count += len(file.chunks)
        job.update.files.added += 1
        job.update.chunks.added += len(file.chunks)
        if chunk_count >= _BUILT_AT_ONCE:
            yield group, read_bytes / total_bytes
            group, chunk_count = [], 0
    if group:
        yield group, 1.0
