"""The spool: where samples are written first, at the cost of one write(2) for each.

Samples are lines of files, the *segments*, in one folder. Many processes append to one segment, and
readers fold it into traffic.db (`modelyard.monitoring`), and remove it. How none is lost and none
counts twice, whoever is killed when:

- **A line is one write(2) with O_APPEND**, so lines of several writers do not mix, and what was
  appended outlives its writer. It begins with a newline as well as ending with one: when a full
  disk took only a part of the line before, that part ends there.
- **Whoever has a segment open holds its lock, shared.** A segment is removed only under its
  exclusive lock, when all of it was folded: by then no writer has it. A writer that waited takes
  another one, as do those that find a segment full. Nobody ever waits for a lock to write.
- **A segment that was locked may already be gone.** So whoever gets the lock looks whether the file
  still has a name.
- **No name is used twice**, so what is known of a segment is true even when it is gone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from modelyard.core.files import disk_errors, make_file, make_folder
from modelyard.core.layout import Project
from modelyard.records.sample import LONGEST_LINE, Sample

_FULL_BYTES = 16 * 2**20
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK  # a link or a pipe in the folder is none of ours
_LONGEST_REMOVAL_S = 5.0


class Recorder:
    """Appends samples to the spool of a project; threads may share it.

    A sample that cannot be written is counted, and the reason kept: an answer never fails for it.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._handle: int | None = None
        self._lock = Lock()
        self.lost = 0
        """Samples that could not be written."""
        self.problem: str | None = None
        """Why the last of them could not."""

    def record(self, sample: Sample) -> None:
        """Append a sample; on failure count it as lost."""
        line = b"\n%b\n" % sample.to_line()
        with self._lock:
            try:
                if os.write(self._open(), line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.lost += 1
                self.problem = error.strerror or str(error)

    def _open(self) -> int:
        if self._handle is not None:
            status = os.fstat(self._handle)
            if status.st_nlink and status.st_size < _FULL_BYTES:
                return self._handle
            self._close()
        self._handle = _open_for_appending(self._project)
        return self._handle

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def close(self) -> None:
        """Let readers remove the segment; a further sample opens one again."""
        with self._lock:
            self._close()


def _open_for_appending(project: Project) -> int:
    for place in project.traffic_segments:
        handle = _join(place, os.O_WRONLY | os.O_APPEND)
        if handle is not None:
            return handle
    while True:
        place = project.traffic_segment(secrets.token_hex(8))
        make_folder(place.parent)
        make_file(place)
        handle = _join(place, os.O_WRONLY | os.O_APPEND, is_own=True)
        if handle is not None:
            return handle


def _join(place: Path, flags: int, *, is_own: bool = False) -> int | None:
    """A segment opened and locked; None when it is full, or being removed, or none of ours.

    is_own: this process made it, so that what stands in the way is an error.
    """
    try:
        handle = os.open(place, flags | _SAFELY)
    except OSError as error:
        if is_own and error.errno != errno.ENOENT:
            raise
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_nlink and status.st_size < _FULL_BYTES:
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that stays as long as it is held."""

    path: Path
    """The file."""
    stream: BinaryIO
    """It, opened for reading."""
    final: bool
    """Whether nobody appends to it any more; the holder may then remove it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What some bytes of a segment say."""

    samples: list[Sample]
    """The samples, in the order in which they were written."""
    skipped: int
    """Lines that are no sample: cut off by a full disk, or written by somebody else."""
    end: int
    """Where in the segment the next batch begins."""


@contextmanager
def hold_segment(path: Path, *, to_remove: bool) -> Iterator[Segment | None]:
    """Keep a segment from being removed by others; None when it is gone.

    `to_remove` asks for it alone, which `Segment.final` grants when nobody else has it open.
    """
    with disk_errors(path):
        handle = _open_to_read(path)
    if handle is None:
        yield None
        return
    with os.fdopen(handle, "rb") as stream:
        final = to_remove and _lock(handle, fcntl.LOCK_EX)
        held = final or _lock_when_free(handle)
        there = held and os.fstat(handle).st_nlink
        try:
            yield Segment(path, stream, final) if there else None
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # also when a forked child has it open too


def _open_to_read(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDONLY | _SAFELY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_when_free(handle: int) -> bool:
    """Take the shared lock; whoever removes the segment is done with it within a second."""
    give_up_at = time.monotonic() + _LONGEST_REMOVAL_S
    while not _lock(handle, fcntl.LOCK_SH):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.005)
    return True


def read_batch(segment: Segment, start: int, *, most: int) -> Batch:
    """Up to about `most` samples of a segment from a place on that `Batch.end` gave, or 0.

    A last line without its newline is left for later while the segment is not final.
    """
    samples: list[Sample] = []
    skipped, end = 0, start
    segment.stream.seek(start)
    while len(samples) + skipped < most:
        line = last = segment.stream.readline(LONGEST_LINE)
        length = len(line)
        while not last.endswith(b"\n") and (more := segment.stream.readline(LONGEST_LINE)):
            last, length = more, length + len(more)
        if not length or not (last.endswith(b"\n") or segment.final):
            break
        end += length
        try:
            if length > LONGEST_LINE:
                raise ValueError("too long for a sample")
            if line := line.strip():
                samples.append(Sample.from_line(line))
        except ValueError:
            skipped += 1
    return Batch(samples, skipped, end)


def blank_lines(path: Path, organisation: str) -> int:
    """Overwrite the lines of an organisation by spaces, where they stand; returns how many.

    Others may read and append meanwhile. A line that a killed process left half overwritten is
    found too, as long as the organisation is in it.
    """
    named = f'"organisation":{json.dumps(organisation, ensure_ascii=False)}'.encode()
    with hold_segment(path, to_remove=False) as segment:
        if segment is None:
            return 0
        blanked = start = 0
        with disk_errors(path), os.fdopen(os.open(path, os.O_RDWR | _SAFELY), "r+b") as target:
            for line in segment.stream:
                if named in line and line.endswith(b"\n"):
                    os.pwrite(target.fileno(), b" " * (len(line) - 1), start)
                    blanked += 1
                start += len(line)
            os.fsync(target.fileno())
    return blanked
