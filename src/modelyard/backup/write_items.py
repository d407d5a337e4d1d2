"""Writing the items of a snapshot into a new folder: every frame is read once, all of it checked.

Work goes frame by frame and not file by file, so that what lies together is read together, and a
large file is written by several threads. Nothing that exists is opened: each file is created where
none was, and links come last, so no write ever follows one.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.backup.blob_index import Location
from modelyard.backup.manifest import DamagedSnapshot, Item, content_blobs
from modelyard.backup.read_blobs import BlobReader, OpenedFrame

_THREADS = 4
"""Each holds one frame of 16 MiB at most, as it is stored and decompressed."""
_THREADS_OF_WHOLE_PACKS = 2
"""Each holds a pack too, encrypted and decrypted."""
_SYNCED_BYTES = 8 << 20
"""So much of a file is on its way to the disk while more is read; the rest follows at the end."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Written = Callable[[int], None]
"""Is told how many more bytes were written; from any thread, one call at a time."""


@dataclass(slots=True)
class _File:
    """A file that is being written."""

    item: Item
    path: Path
    left: int
    """The bytes that are still to come."""
    is_checked_whole: bool
    """Whether its bytes are checked against its hash at its end, and not blob by blob."""
    handle: int = -1
    unsynced: int = 0
    """The bytes since the last time that the disk was waited for."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A blob's place in a file."""

    sha256: str
    place: Location
    file: _File
    at: int


def write_items(
    root: Path, items: Sequence[Item], reader: BlobReader, written: Written = lambda count: None
) -> None:
    """Write items below `root`, a new folder of this process: files, then links, then modes.

    items: a folder before what is in it. Raises OSError when something cannot be written,
    DamagedSnapshot when a file is not what its item says, and what `BlobReader` raises.
    """
    folders = [item for item in items if item.kind == "folder"]
    for item in folders:
        (root / item.path).mkdir(mode=0o700)
    files = [item for item in items if item.kind in ("file", "sqlite")]
    _write_files(root, files, reader, written)
    for item in items:
        if item.kind == "link":
            link = root / item.path
            link.symlink_to(item.target or "")
            with suppress(NotImplementedError):
                os.utime(link, ns=(item.mtime_ns, item.mtime_ns), follow_symlinks=False)
    # A folder changes when something is made in it; and its mode may forbid that.
    for item in reversed(folders):
        path = root / item.path
        path.chmod(item.mode & 0o3777)
        os.utime(path, ns=(item.mtime_ns, item.mtime_ns))


def _write_files(root: Path, items: Iterable[Item], reader: BlobReader, written: Written) -> None:
    frames: dict[str, dict[int, list[_Piece]]] = defaultdict(lambda: defaultdict(list))
    files: list[_File] = []
    told = threading.Lock()
    for item in items:
        # The hash of an only blob is that of the file.
        is_checked_whole = item.depth > 0 or item.blobs != (item.sha256,)
        file = _File(item, root / item.path, item.size, is_checked_whole)
        files.append(file)
        at = 0
        for sha256 in content_blobs(item, reader.read):
            place = reader.find(sha256)
            frames[place.pack][place.at].append(_Piece(sha256, place, file, at))
            at += place.size
        if at != item.size:
            raise DamagedSnapshot("is not as long as its blobs", where=item.path)
        if item.size == 0:
            file.handle = os.open(file.path, _NEW, 0o600)
            _finish(file, reader)

    def write_pack(pack: str, pieces: dict[int, list[_Piece]]) -> None:
        places = [pieces[at][0].place for at in sorted(pieces)]
        for place, frame in reader.read_frames(pack, places):
            if stop.is_set():
                return
            count = _write_frame(frame, pieces.pop(place.at), reader)
            with told:
                written(count)

    stop = threading.Event()
    threads = _THREADS_OF_WHOLE_PACKS if reader.reads_whole_packs else _THREADS
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(write_pack, pack, frames.pop(pack)) for pack in list(frames)]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            for file in files:
                if file.handle >= 0:
                    os.close(file.handle)
            raise


def _write_frame(frame: OpenedFrame, pieces: list[_Piece], reader: BlobReader) -> int:
    """Check and write the blobs of a frame; returns how many bytes of files that were."""
    pieces.sort(key=lambda piece: (piece.file.item.path, piece.at))
    known: set[str] = set()
    start = 0
    while start < len(pieces):
        end = start + 1
        while end < len(pieces) and _follows(pieces[end - 1], pieces[end]):
            end += 1
        run = pieces[start:end]
        for piece in run:
            if piece.sha256 not in known and not piece.file.is_checked_whole:
                frame.blob(piece.sha256, piece.place)
                known.add(piece.sha256)
        first, last = run[0], run[-1]
        data = frame.data[first.place.skip : last.place.skip + last.place.size]
        _write(first.file, first.at, data, reader)
        start = end
    return sum(piece.place.size for piece in pieces)


def _follows(before: _Piece, piece: _Piece) -> bool:
    """Whether a piece continues another, in the frame and in the file."""
    size = before.place.size
    return (
        piece.file is before.file
        and piece.at == before.at + size
        and piece.place.skip == before.place.skip + size
    )


def _write(file: _File, at: int, data: memoryview, reader: BlobReader) -> None:
    with file.lock:
        if file.handle < 0:
            file.handle = os.open(file.path, _NEW, 0o600)
            if file.item.size >= _SYNCED_BYTES:
                with suppress(OSError):  # not every file system can; a full disk shows below
                    os.posix_fallocate(file.handle, 0, file.item.size)
    done = 0
    while done < len(data):
        done += os.pwrite(file.handle, data[done:], at + done)
    with file.lock:
        file.unsynced += len(data)
        syncs = file.unsynced >= _SYNCED_BYTES
        if syncs:
            file.unsynced = 0
    if syncs:
        os.fdatasync(file.handle)
    with file.lock:
        file.left -= len(data)
        if file.left == 0:
            _finish(file, reader)


def _finish(file: _File, reader: BlobReader) -> None:
    """Check a file that is complete, and give it its mode and time."""
    item, handle = file.item, file.handle
    try:
        if file.is_checked_whole:
            with file.path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != item.sha256:
                _name_damage(item, reader)
        # Never the bits that let a program run as its owner: a repository may be another's.
        os.fchmod(handle, item.mode & 0o777)
        os.utime(handle, ns=(item.mtime_ns, item.mtime_ns))
    finally:
        file.handle = -1
        os.close(handle)


def _name_damage(item: Item, reader: BlobReader) -> None:
    """Raise DamagedRepository for the first blob of a file that is damaged; else DamagedSnapshot.

    The second is a file of which each blob is right, and all together are not.
    """
    for sha256 in content_blobs(item, reader.read):
        reader.read(sha256)
    raise DamagedSnapshot("is not the file that was backed up", where=item.path)
