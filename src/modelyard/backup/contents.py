"""Reading files, links and folders into items, whose bytes go to a packer."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from modelyard.backup.blob_index import FRAME_BYTES
from modelyard.backup.manifest import (
    BLOCK_BYTES,
    Item,
    Kind,
    block_bytes,
    leads_inside,
    tree_bytes,
)
from modelyard.backup.packing import Packer
from modelyard.backup.source import Entry, Source, seen
from modelyard.backup.sqlite_files import (
    HEAD_BYTES,
    begun_reading,
    copied,
    is_sqlite,
    unchanging,
)

_HASHES_IN_A_LIST = 256
"""A quarter of what a list may hold: a page that changed costs its list too, 8 KiB of hashes."""
_TRIES = 3
"""How often a file is read that changes meanwhile."""

Advance = Callable[[int], None]
"""Told how many more bytes were read."""


def store_link(source: Source, entry: Entry) -> Item | None:
    """The item of a link; None, and named, when it leads out of the project."""
    target = entry.target or ""
    if not leads_inside(entry.path, target):
        source.skip(entry.path, f"is a link that leaves the project, to {target}")
        return None
    return Item(path=entry.path, kind="link", mode=0o777, target=target)


def store_folder(packer: Packer, entry: Entry, items: list[Item]) -> Item:
    """The item of a folder with these items, whose tree is stored."""
    data = tree_bytes(items)
    hashes = HashList(packer)
    for start in range(0, len(data), BLOCK_BYTES):
        hashes.add(packer.add(data[start : start + BLOCK_BYTES], of_tree=True))
    blobs, depth = hashes.finish()
    return Item(
        path=entry.path,
        kind="folder",
        mode=entry.mode,
        mtime_ns=entry.found.st_mtime_ns,
        size=len(data),
        blobs=blobs,
        depth=depth,
    )


def store_file(source: Source, packer: Packer, entry: Entry, advance: Advance) -> Item | None:
    """The item of a file, whose bytes are stored; None, and named, when it cannot be read."""
    place = source.place(entry.path)
    try:
        if place == source.project.state_db:
            state = source.moment.state
            if state is None:
                return None  # it was made after the moment
            return _store_stream(packer, entry, state, "sqlite", advance, "")
        if source.is_own_database(place):
            description = seen(place, entry.found)
            with begun_reading(place) as begun, copied(begun.connection, place) as copy:
                return _store_stream(packer, entry, copy, "sqlite", advance, description)
        for _ in range(_TRIES):
            item, is_settled = _store_now(source, packer, entry, advance)
            if is_settled:
                return item
        source.skip(entry.path, f"changed each of the {_TRIES} times that it was read")
        return item
    except FileNotFoundError:
        return None  # it was removed since its folder was listed
    except sqlite3.Error as error:
        source.skip(entry.path, f"cannot be copied: {error}")
    except OSError as error:
        source.skip(entry.path, f"cannot be read: {error.strerror}")
    return None


def _store_now(source: Source, packer: Packer, entry: Entry, advance: Advance) -> tuple[Item, bool]:
    """The item of a file as it is read now, and whether it stayed the same meanwhile."""
    place = source.place(entry.path)
    with _open_file(place) as file:
        found = os.fstat(file.fileno())
        opened = Entry(entry.path, found)
        description = seen(place, found)
        if is_sqlite(os.pread(file.fileno(), HEAD_BYTES, 0)):
            try:
                with unchanging(place, file) as settled:
                    item = _store_stream(packer, opened, settled, "sqlite", advance, description)
                return item, True
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                source.skip(entry.path, f"is stored as it lies there: SQLite says {error}")
        item = _store_stream(packer, opened, file, "file", advance, description)
        after = os.fstat(file.fileno())
    is_settled = (after.st_size, after.st_mtime_ns) == (item.size, found.st_mtime_ns)
    return item, is_settled or (source.only_grows(place) and after.st_size > item.size)


def _open_file(place: Path) -> BinaryIO:
    """Open a regular file. Raises OSError for what took its place, such as a pipe, at once."""
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no file any more")
    return os.fdopen(handle, "rb", buffering=0)


def _store_stream(
    packer: Packer, entry: Entry, file: BinaryIO, kind: Kind, advance: Advance, description: str
) -> Item:
    """The item of the bytes that an open file has now, which are stored."""
    block = block_bytes(kind)
    at_once = max(block, FRAME_BYTES)
    length, size = os.fstat(file.fileno()).st_size, 0
    whole, hashes = hashlib.sha256(), HashList(packer)
    while size < length and (data := _read_full(file, min(at_once, length - size))):
        size += len(data)
        if length > block:
            whole.update(data)
        for start in range(0, len(data), block):
            hashes.add(packer.add(data[start : start + block]))
        advance(len(data))
    blobs, depth = hashes.finish()
    sha256 = blobs[0] if blobs and length <= block else whole.hexdigest()
    return Item(
        path=entry.path,
        kind=kind,
        mode=entry.mode,
        mtime_ns=entry.found.st_mtime_ns,
        size=size,
        sha256=sha256,
        blobs=blobs,
        depth=depth,
        seen=description,
    )


def _read_full(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file, fewer than `size` only at its end."""
    data = file.read(size)
    while 0 < len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


class HashList:
    """The hashes of the blobs of one content, as an item holds them: lists of lists, if many."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._levels: list[list[str]] = [[]]

    def add(self, sha256: str, level: int = 0) -> None:
        """Add the next hash; a list that is full is stored when another one follows."""
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == _HASHES_IN_A_LIST:
            self._store(level)
        self._levels[level].append(sha256)

    def finish(self) -> tuple[tuple[str, ...], int]:
        """The `blobs` and the `depth` of the item."""
        level = 0
        while level + 1 < len(self._levels):
            self._store(level)
            level += 1
        return tuple(self._levels[level]), level

    def _store(self, level: int) -> None:
        data = bytes.fromhex("".join(self._levels[level]))
        self._levels[level] = []
        self.add(self._packer.add(data, of_tree=True), level + 1)
