"""Known files and files on the disk: which have other bytes now.

A file counts as changed when its bytes hash to something else. What the file system says of it
(size, times, inode) only saves the hashing, as in git: a change that leaves the size and restores
the time still moves ctime, which no program can set. A file that was written in the two seconds
before it was read is hashed again next time, because clocks of file systems are coarse.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime

from modelyard.retrieval.index_file import IndexedFile
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.revise import FileRecord

_COARSEST_CLOCK_NS = 2_000_000_000
_LARGEST_NS = 2**63 - 1
"""SQLite's largest number, in the year 2262."""
_EARLIEST_S, _LATEST_S = 0, 253_402_300_799
"""1970 and the last second of 9999: a file system may say anything of a file."""


def has_changed(source: SourceFile, before: IndexedFile) -> bool:
    """Whether a file has other bytes than the index knows of it."""
    return not looks_the_same(source, before) and same_content(source, before) is None


def looks_the_same(source: SourceFile, before: IndexedFile) -> bool:
    """Whether the file system describes it as it did when it was read."""
    return bool(before.seen) and before.seen == _seen_now(source.path)


def same_content(source: SourceFile, before: IndexedFile) -> FileRecord | None:
    """The new record of a file whose bytes are those that the index knows; None: others."""
    if source.size != before.size_bytes:
        return None
    try:
        with source.open() as stream:
            found = os.fstat(stream.fileno())
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # cutting it says what is wrong
    if sha256 != before.sha256:
        return None
    return make_record(source, found, sha256, size_bytes=found.st_size)


def make_record(
    source: SourceFile, found: os.stat_result, sha256: str, *, size_bytes: int
) -> FileRecord:
    """What an index keeps of a file: `found` is what the system said when it was opened."""
    settled = max(found.st_ctime_ns, found.st_mtime_ns) < time.time_ns() - _COARSEST_CLOCK_NS
    return FileRecord(
        path=source.shown,
        sha256=sha256,
        size_bytes=size_bytes,
        mtime_ns=min(found.st_mtime_ns, _LARGEST_NS),
        modified_at=_as_text(found.st_mtime),
        seen=_describe(found) if settled else "",
    )


def _as_text(moment_s: float) -> str:
    """A time of the file system, UTC; one that no calendar has counts as the nearest that has."""
    within = min(max(moment_s, _EARLIEST_S), _LATEST_S)
    return datetime.fromtimestamp(within, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _describe(found: os.stat_result) -> str:
    """What the file system says of a file, as one text."""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def _seen_now(path: str) -> str | None:
    try:
        return _describe(os.stat(path))  # noqa: PTH116 - half the time of a Path
    except OSError:
        return None
