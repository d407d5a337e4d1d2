"""Packing: new blobs are joined into frames, compressed on two cores, and stored in packs.

Reading, compressing and storing overlap; what is under way at once is bounded, so memory is too.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from modelyard.backup.blob_index import (
    FRAME_BYTES,
    PACK_BYTES,
    BlobIndex,
    Encoding,
    Frame,
    IndexPart,
    Pack,
)
from modelyard.backup.compression import compress
from modelyard.backup.repository import Repository, pack_salt
from modelyard.core.freed_memory import map_large_blocks

_COMPRESSING_THREADS = 2
_STORING_THREADS = 2
_LARGE_BYTES = 4 << 20
"""Blobs and packs from this size on do not share memory with what is freed later."""
_UNDER_WAY_BYTES = 16 << 20
_BLOBS_IN_AN_INDEX = 50_000
_PACKS_IN_AN_INDEX = 64
"""After 1 GB an index is written, so that a run that is killed later need not store it again."""
_LEAST_SAVED = 1 / 64
"""Compression that saves less costs whoever reads more than it saves."""


@dataclass(slots=True)
class _OpenFrame:
    """Blobs that will be compressed together."""

    parts: list[bytes] = field(default_factory=list)
    blobs: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Compressed:
    """A frame as it will be stored."""

    data: bytes
    encoding: Encoding
    blobs: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _OpenPack:
    """Frames that will be stored together."""

    frames: list[_Compressed] = field(default_factory=list)
    size: int = 0

    def add(self, frame: _Compressed) -> None:
        self.frames.append(frame)
        self.size += len(frame.data)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A frame that a thread compresses."""

    result: Future[_Compressed]
    size: int
    of_trees: bool


class Packer:
    """Stores blobs that the repository does not have; for one thread, inside `packing`.

    Trees and lists of hashes are packed apart from content, so that the next run, which needs only
    them, reads them in few requests.
    """

    def __init__(self, repository: Repository, index: BlobIndex) -> None:
        self.stored_bytes = 0
        """The bytes of all packs that were written, as stored."""
        self._repository = repository
        self._index = index
        self._content, self._trees = _OpenFrame(), _OpenFrame()
        self._pack, self._tree_pack = _OpenPack(), _OpenPack()
        self._under_way: deque[_UnderWay] = deque()
        self._bytes_under_way = 0
        self._packed: set[str] = set()
        """Blobs that are not in the index yet."""
        self._storing: deque[Future[Pack]] = deque()
        self._not_indexed: list[Pack] = []
        self._compressors = ThreadPoolExecutor(_COMPRESSING_THREADS, "compress")
        self._storers = ThreadPoolExecutor(_STORING_THREADS, "store")

    def add(self, data: bytes, *, of_tree: bool = False) -> str:
        """The SHA-256 of a blob, which is stored unless the repository has it.

        of_tree: whether it is a tree or a list of hashes. Raises what storing raises, also that of
        an earlier blob.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self._packed or self._index.find(sha256) is not None:
            return sha256
        self._packed.add(sha256)
        frame = self._trees if of_tree else self._content
        if frame.size + len(data) > FRAME_BYTES:
            frame = self._close_frame(of_trees=of_tree)
        frame.parts.append(data)
        frame.blobs.append((sha256, len(data)))
        frame.size += len(data)
        if frame.size >= FRAME_BYTES:
            self._close_frame(of_trees=of_tree)
        return sha256

    def finish(self) -> None:
        """Store all that is left; when it returns, every blob is stored, read back and indexed."""
        self._close_frame(of_trees=False)
        self._close_frame(of_trees=True)
        while self._under_way:
            self._collect_frame()
        if self._pack.size + self._tree_pack.size > PACK_BYTES:
            self._store_pack(self._pack)
            self._pack = _OpenPack()
        for frame in self._tree_pack.frames:
            self._pack.add(frame)
        self._store_pack(self._pack)
        while self._storing:
            self._collect_pack()
        self._write_index()

    def stop(self) -> None:
        """End the threads; what was not finished is dropped."""
        for pool in (self._compressors, self._storers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _close_frame(self, *, of_trees: bool) -> _OpenFrame:
        """Have an open frame compressed, and open the next one."""
        frame, opened = (self._trees if of_trees else self._content), _OpenFrame()
        if of_trees:
            self._trees = opened
        else:
            self._content = opened
        if frame.parts:
            result = self._compressors.submit(_compressed, frame)
            self._under_way.append(_UnderWay(result, frame.size, of_trees))
            self._bytes_under_way += frame.size
            while self._bytes_under_way > _UNDER_WAY_BYTES:
                self._collect_frame()
        return opened

    def _collect_frame(self) -> None:
        """Put the frame that is compressed first into its pack."""
        oldest = self._under_way.popleft()
        self._bytes_under_way -= oldest.size
        pack = self._tree_pack if oldest.of_trees else self._pack
        pack.add(oldest.result.result())
        if pack.size >= PACK_BYTES:
            self._store_pack(pack)
            if oldest.of_trees:
                self._tree_pack = _OpenPack()
            else:
                self._pack = _OpenPack()

    def _store_pack(self, pack: _OpenPack) -> None:
        while len(self._storing) >= _STORING_THREADS:
            self._collect_pack()
        if pack.frames:
            self._storing.append(self._storers.submit(_stored, self._repository, pack))

    def _collect_pack(self) -> None:
        """Index the pack that was stored first."""
        pack = self._storing.popleft().result()
        self.stored_bytes += pack.size
        self._index.add_pack(pack)
        self._packed.difference_update(sha256 for frame in pack.frames for sha256, _ in frame.blobs)
        self._not_indexed.append(pack)
        blobs = sum(len(frame.blobs) for one in self._not_indexed for frame in one.frames)
        if len(self._not_indexed) >= _PACKS_IN_AN_INDEX or blobs >= _BLOBS_IN_AN_INDEX:
            self._write_index()

    def _write_index(self) -> None:
        if self._not_indexed:
            part = IndexPart(packs=tuple(self._not_indexed))
            self._index.names.add(self._repository.put_index(part))
            self._not_indexed.clear()


@contextmanager
def packing(repository: Repository, index: BlobIndex) -> Iterator[Packer]:
    """A packer, whose threads end with the block."""
    map_large_blocks(_LARGE_BYTES)
    packer = Packer(repository, index)
    try:
        yield packer
    finally:
        packer.stop()


def _compressed(frame: _OpenFrame) -> _Compressed:
    data = frame.parts[0] if len(frame.parts) == 1 else b"".join(frame.parts)
    frame.parts.clear()
    smaller = compress(data)
    if len(smaller) <= len(data) * (1 - _LEAST_SAVED):
        return _Compressed(smaller, "zstd", tuple(frame.blobs))
    return _Compressed(data, "raw", tuple(frame.blobs))


def _stored(repository: Repository, pack: _OpenPack) -> Pack:
    frames, at = [], 0
    for frame in pack.frames:
        frames.append(Frame(at, len(frame.data), frame.encoding, frame.blobs))
        at += len(frame.data)
    data = b"".join((*(frame.data for frame in pack.frames), pack_salt()))
    pack.frames.clear()  # the same bytes again
    name, size = repository.put_salted_pack(data)
    return Pack(name, size, tuple(frames))
