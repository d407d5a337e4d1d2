"""The files of an update: which of them changed, and reading one into its chunks and its hash.

A file counts as changed when its bytes hash to something else. What the file system says of it
(size, times, inode) only saves the hashing, as in git: a change that leaves the size and restores
the time still moves ctime, which no program can set. A file that was written in the two seconds
before it was read is hashed again next time, because clocks of file systems are coarse.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import FileRecord, IndexedFile
from modelyard.retrieval.reading.chunks import read_chunks, reads_as_log
from modelyard.retrieval.reading.decoding import has_broken_characters
from modelyard.retrieval.reading.sources import NotAFile, SourceFile
from modelyard.retrieval.updating.job import UpdateJob

_COARSEST_CLOCK_NS = 2_000_000_000
_LARGEST_NS = 2**63 - 1
"""SQLite's largest number, in the year 2262."""
_EARLIEST_S, _LATEST_S = 0, 253_402_300_799
"""1970 and the last second of 9999, since a file system may report any time."""
_BLOCK_BYTES = 1 << 20


def has_changed(source: SourceFile, before: IndexedFile) -> bool:
    """Whether a file has other bytes than the indexed ones."""
    return not looks_the_same(source, before) and same_content(source, before) is None


def looks_the_same(source: SourceFile, before: IndexedFile) -> bool:
    """Whether the file system describes the file as it did when it was indexed."""
    try:
        now = _describe(os.stat(source.path))  # noqa: PTH116 - half the time of a Path
    except OSError:
        return False
    return now == before.seen


def same_content(source: SourceFile, before: IndexedFile) -> FileRecord | None:
    """The new record of a file whose bytes are the indexed ones; None when they differ."""
    if source.size != before.size_bytes:
        return None
    record = hash_file(source)
    return record if record is not None and record.sha256 == before.sha256 else None


def hash_file(source: SourceFile) -> FileRecord | None:
    """The record of a file; None when it cannot be read, which `chunk_file` reports."""
    try:
        with source.open() as stream:
            status = os.fstat(stream.fileno())
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
    return _make_record(source, status, sha256, status.st_size)


def _make_record(
    source: SourceFile, status: os.stat_result, sha256: str, size_bytes: int
) -> FileRecord:
    """What an index keeps of a file, with its status when it was opened."""
    settled = max(status.st_ctime_ns, status.st_mtime_ns) < time.time_ns() - _COARSEST_CLOCK_NS
    return FileRecord(
        path=source.shown,
        sha256=sha256,
        size_bytes=size_bytes,
        mtime_ns=min(status.st_mtime_ns, _LARGEST_NS),
        modified_at=_modified_at(status).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seen=_describe(status) if settled else "",
    )


def _modified_at(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(min(max(status.st_mtime, _EARLIEST_S), _LATEST_S), UTC)


def _describe(status: os.stat_result) -> str:
    """What the file system says of a file, as one text."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedFile:
    """A file that was read and split into chunks."""

    record: FileRecord
    """What the index keeps of it."""
    chunks: Sequence[Chunk]
    """Its chunks, in the order of their lines."""


def chunk_file(job: UpdateJob, source: SourceFile) -> ChunkedFile | None:
    """A file in chunks; None, with the reason reported, when it cannot be read."""
    settings = job.index.settings

    def skip(reason: str) -> None:
        job.update.skip(reason, source.shown)

    try:
        with source.open() as stream:
            status = os.fstat(stream.fileno())
            if settings.chunker == "logs":
                return _chunk_log(job, source, status, stream)
            content = stream.read(settings.max_file_size_bytes + 1)
    except OSError as error:
        reasons = {FileNotFoundError: "gone while it was read", NotAFile: "not a file"}
        skip(reasons.get(type(error), "unreadable"))
        return None
    if len(content) > settings.max_file_size_bytes:  # it grew since the folders were read
        skip("too large")
        return None
    if has_broken_characters(content):
        if not reads_as_log(source.shown, settings):
            skip("broken encoding")
            return None
        skip("characters in a broken encoding")
    chunks = read_chunks(
        content,
        source.shown,
        settings,
        job.count_tokens,
        report=skip,
        file_written=_modified_at(status),
    )
    record = _make_record(source, status, hashlib.sha256(content).hexdigest(), len(content))
    return ChunkedFile(record=record, chunks=chunks)


def can_be_read(source: SourceFile, settings: IndexSettings) -> bool:
    """Whether `chunk_file` would not leave the file out."""
    try:
        with source.open() as stream:
            is_log = reads_as_log(source.shown, settings)
            return is_log or not has_broken_characters(stream.read())
    except OSError:
        return False


def _chunk_log(
    job: UpdateJob, source: SourceFile, status: os.stat_result, stream: io.BufferedReader
) -> ChunkedFile:
    """A log in chunks: it may be too large for memory, and a broken line loses no other line."""
    checked = _CheckedStream(stream)
    content = io.BufferedReader(checked, _BLOCK_BYTES)
    chunks = read_chunks(
        content,
        source.shown,
        job.index.settings,
        job.count_tokens,
        file_written=_modified_at(status),
    )
    while content.read(_BLOCK_BYTES):
        pass
    if checked.is_broken:
        job.update.skip("characters in a broken encoding", source.shown)
    record = _make_record(source, status, checked.sha256.hexdigest(), checked.size_bytes)
    return ChunkedFile(record=record, chunks=chunks)


class _CheckedStream(io.RawIOBase):
    """A file that is hashed and checked for broken characters as it is read, block by block."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.is_broken = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)
        block = memoryview(buffer)[:count]
        self.sha256.update(block)
        self.size_bytes += count
        if not self.is_broken:
            try:
                self._decoder.decode(block, final=not count)
            except UnicodeDecodeError:
                self.is_broken = True
        return count
