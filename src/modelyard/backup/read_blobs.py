"""Reading blobs, each checked against its hash: a bad one never leaves this module."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.backup.blob_index import BlobIndex, Location
from modelyard.backup.compression import DamagedData
from modelyard.backup.repository import DamagedRepository, Repository, open_frame, pack_key

_KEPT_FRAMES_BYTES = 24 << 20
_RANGE_BYTES = 4 << 20
"""The most bytes of frames that are read in one request, unless a single one is longer."""
_GAP_BYTES = 64 << 10
"""What is read and not needed between two frames rather than asking twice."""
_HINT = (
    "`models backup verify --all` says what it touches; `models restore --without PATH` restores "
    "the rest"
)


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """A decompressed frame; what is in it is not checked yet."""

    data: memoryview
    """Its bytes."""
    where: str
    """The address of its pack, for messages."""

    def blob(self, sha256: str, place: Location) -> memoryview:
        """The bytes of a blob in it. Raises DamagedRepository when they are not those."""
        found = self.data[place.skip : place.skip + place.size]
        if hashlib.sha256(found).hexdigest() != sha256:
            raise DamagedRepository(
                f"is damaged: what it holds at byte {place.at:,} is not what was backed up",
                where=self.where,
                hint=_HINT,
            )
        return found


class BlobReader:
    """Reads blobs of one repository; threads may share it."""

    def __init__(self, repository: Repository, index: BlobIndex) -> None:
        self._repository = repository
        self._index = index
        self._frames: OrderedDict[tuple[str, int], OpenedFrame] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    @property
    def reads_whole_packs(self) -> bool:
        """Whether a frame costs the memory of its pack: an encrypted one is decrypted whole."""
        return self._repository.cipher is not None

    def read(self, sha256: str) -> bytes:
        """One blob. Frames are kept for a while: their blobs are usually read one after the other.

        Raises DamagedRepository, DamagedData or StoreFailed when it cannot be read as it was.
        """
        place = self.find(sha256)
        key = place.pack, place.at
        with self._lock:
            frame = self._frames.get(key)
            if frame is not None:
                self._frames.move_to_end(key)
        if frame is None:
            [(_, frame)] = self.read_frames(place.pack, [place])
            self._keep(key, frame)
        return bytes(frame.blob(sha256, place))

    def find(self, sha256: str) -> Location:
        """Where a blob is. Raises DamagedRepository when no index knows it."""
        place = self._index.find(sha256)
        if place is None:
            raise DamagedRepository(
                f"no index of the repository knows the blob {sha256[:16]}",
                where=self._repository.store.url,
                hint=_HINT,
            )
        return place

    def read_frames(
        self, pack: str, frames: Sequence[Location]
    ) -> Iterator[tuple[Location, OpenedFrame]]:
        """Frames of one pack, in as few requests as need little memory.

        frames: one place in each frame, in the order of `at`.
        Raises DamagedRepository, DamagedData or StoreFailed.
        """
        key = pack_key(pack)
        where = self._repository.store.show(key)
        if self._repository.cipher is not None:
            stored = self._repository.read_pack(pack)
            for place in frames:
                part = stored[place.at : place.at + place.length]
                yield place, _open(part, place, where)
            return
        for run in _runs(frames):
            first, last = run[0], run[-1]
            length = last.at + last.length - first.at
            stored = self._repository.store.read_range(key, first.at, length)
            for place in run:
                begin = place.at - first.at
                yield place, _open(stored[begin : begin + place.length], place, where)

    def _keep(self, key: tuple[str, int], frame: OpenedFrame) -> None:
        with self._lock:
            if key not in self._frames:
                self._frames[key] = frame
                self._kept_bytes += len(frame.data)
            while self._kept_bytes > _KEPT_FRAMES_BYTES and len(self._frames) > 1:
                _, dropped = self._frames.popitem(last=False)
                self._kept_bytes -= len(dropped.data)


def _open(stored: bytes, place: Location, where: str) -> OpenedFrame:
    if len(stored) != place.length:
        raise DamagedRepository("is shorter than its index says", where=where, hint=_HINT)
    try:
        return OpenedFrame(memoryview(open_frame(stored, place, where=where)), where)
    except DamagedData as error:
        error.hint = _HINT
        raise


def _runs(frames: Sequence[Location]) -> Iterator[list[Location]]:
    """Frames that lie close together, so that one request reads them."""
    run: list[Location] = []
    for place in frames:
        if run:
            end = run[-1].at + run[-1].length
            length = place.at + place.length - run[0].at
            if place.at - end > _GAP_BYTES or length > _RANGE_BYTES:
                yield run
                run = []
        run.append(place)
    if run:
        yield run
