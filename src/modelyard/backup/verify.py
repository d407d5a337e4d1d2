"""Whether a repository is whole, and what a damaged part of it touches.

Always checked: that every object is there in its size, that every index, snapshot and tree can be
read, and that every blob of every snapshot lies in a pack. With packs read in full, also that each
of their bytes is the one that was written, and that each blob comes out of its frame.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from modelyard.backup.blob_index import BlobIndex, Frame, Location, Pack
from modelyard.backup.leases import seen_leases
from modelyard.backup.manifest import Item, Snapshot, content_blobs, read_tree
from modelyard.backup.needed import Needed
from modelyard.backup.pending import DamagedMark, read_marks
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import (
    DamagedRepository,
    Listing,
    Repository,
    open_frame,
    pack_key,
)
from modelyard.core.errors import ModelyardError
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes
from modelyard.stores.store import StoreFailed

_THREADS = 2
"""Each holds a pack of up to 48 MiB, and if it is encrypted its bytes once more."""
_LISTED_ITEMS = 1000
"""The most items of one snapshot that are named for one object."""
_INDEXES = "indexes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What of a snapshot cannot be restored, because of one damaged object."""

    snapshot: str
    """The snapshot."""
    items: int
    """How many of its items; a folder that cannot be read counts once."""
    paths: tuple[str, ...]
    """Their paths, of 1,000 at most; the project itself is `.`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One object of a repository that is not as it should be."""

    object: str
    """Its key in the repository; `indexes` where one is missing that nothing names."""
    problem: str
    """What is wrong with it."""
    touches: tuple[Touched, ...]
    """What of which snapshots needs it; empty when nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRepository:
    """A repository after its check."""

    repository: str
    """Its address."""
    ok: bool
    """Whether nothing is wrong."""
    snapshots: int
    """How many snapshots there are."""
    packs: int
    """How many packs."""
    bytes: int
    """The size of the packs."""
    read_packs: int
    """How many packs were read in full."""
    read_bytes: int
    """Their size."""
    seconds: float
    """How long it took."""
    damages: tuple[Damage, ...]
    """What is wrong."""


def verify_repository(
    repository: Repository, progress: Progress, *, share: float = 0.0, seed: int | None = None
) -> VerifiedRepository:
    """Check a repository; `share` of its packs, from 0 to 1, is read in full.

    seed: draws the same packs again; None: others each time. Raises StoreFailed when the store
    cannot be read, which says nothing about what is in it.
    """
    began = time.monotonic()
    check = _Check(repository)
    progress.stage("verify: indexes, names and sizes")
    check.compare_listing()
    chosen = _draw(check.listing, share, seed)
    size = sum(check.listing.packs[name] for name in chosen)
    if chosen:
        what = counted(len(chosen), "pack")
        progress.stage(f"verify: {what} of {len(check.listing.packs)}, {megabytes(size)}")
        check.read_packs(chosen, progress, size)
    snapshots = counted(len(check.listing.snapshots), "snapshot needs", "snapshots need")
    progress.stage(f"verify: what {snapshots}")
    check.read_snapshots()
    damages = check.damages()
    return VerifiedRepository(
        repository=repository.store.url,
        ok=not damages,
        snapshots=len(check.listing.snapshots),
        packs=len(check.listing.packs),
        bytes=sum(check.listing.packs.values()),
        read_packs=len(chosen),
        read_bytes=size,
        seconds=time.monotonic() - began,
        damages=damages,
    )


def _draw(listing: Listing, share: float, seed: int | None) -> list[str]:
    names = sorted(listing.packs)
    count = min(len(names), -(-round(share * len(names) * 1000) // 1000))
    return sorted(random.Random(seed).sample(names, count))


@dataclass(slots=True)
class _Check:
    """A check under way: what is wrong by object, and by snapshot what that touches."""

    repository: Repository
    listing: Listing = field(init=False)
    index: BlobIndex = field(init=False)
    problems: dict[str, str] = field(default_factory=dict)
    """By the key of each object that is damaged."""
    harmless: dict[str, str] = field(default_factory=dict)
    """The same of objects that matter only where something needs them."""
    bad_blobs: dict[str, str] = field(default_factory=dict)
    """The key of the object because of which a blob cannot be read."""
    touched: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """The paths, by object and snapshot."""

    def compare_listing(self) -> None:
        """Read the indexes, and look for what they name."""

        def note_index(name: str, error: ModelyardError) -> None:
            self.problems[f"{_INDEXES}/{name}"] = error.message

        self.listing = self.repository.listing()
        self.index = self.repository.load_index(self.listing, on_damage=note_index)
        self.listing = self.repository.listing()  # a backup that ended meanwhile
        for name, size in self.index.packs().items():
            there = self.listing.packs.get(name)
            if there is None:
                self._lose_pack(name, "is missing", self.harmless)
            elif there != size:
                problem = f"has {there:,} bytes, and should have {size:,}"
                self._lose_pack(name, problem, self.problems)
        for id in sorted(self.index.snapshots - set(self.listing.snapshots)):
            key = f"snapshots/{id}"
            self.problems[key] = "is missing"
            self.touched[key][id].append(".")
        self._look_for_unnamed()
        try:
            read_marks(self.repository.store)
        except DamagedMark as error:
            self.problems["pending"] = error.message

    def _look_for_unnamed(self) -> None:
        """A snapshot that no index names: an index is gone, or its backup was killed or goes on."""
        named = self.index.snapshots | self.index.removed
        unnamed = sorted(set(self.listing.snapshots) - named)
        damaged = any(key.startswith(_INDEXES) for key in self.problems)
        if unnamed and not damaged and not seen_leases(self.repository.store, time.time()):
            self.problems[_INDEXES] = f"none names {', '.join(unnamed)} as complete: one is missing"

    def read_packs(self, names: Iterable[str], progress: Progress, total: int) -> None:
        """Read packs in full."""
        done = 0
        lock = threading.Lock()
        progress.begin("verify", max(total, 1), "bytes")

        def read(name: str) -> None:
            nonlocal done
            self._read_pack(name)
            with lock:
                done += self.listing.packs[name]
                progress.advance(done)

        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                for _ in pool.map(read, names):
                    pass
        finally:
            progress.end()

    def _read_pack(self, name: str) -> None:
        try:
            data = self.repository.read_pack(name)
        except StoreFailed:
            raise
        except ModelyardError as error:
            if self.repository.store.size_bytes(pack_key(name)) is None:
                return  # a prune has removed it meanwhile
            self._lose_pack(name, error.message, self.problems)
            self._save_good_frames(name)
            return
        with suppress(KeyError):  # a pack of no index: of a backup that was killed, or goes on
            pack = self.index.pack(name)
            for frame in pack.frames:
                self._check_frame(pack, frame, data[frame.at : frame.at + frame.length])

    def _save_good_frames(self, name: str) -> None:
        """Of a pack that was changed, find the blobs that can be read all the same."""
        if self.repository.cipher is not None:
            return
        with suppress(KeyError, ModelyardError):
            for frame in self.index.pack(name).frames:
                key = pack_key(name)
                stored = self.repository.store.read_range(key, frame.at, frame.length)
                with suppress(ModelyardError):
                    self._require_blobs(name, frame, stored)
                    for sha256, _ in frame.blobs:
                        self.bad_blobs.pop(sha256, None)

    def _check_frame(self, pack: Pack, frame: Frame, stored: bytes) -> None:
        try:
            self._require_blobs(pack.name, frame, stored)
        except ModelyardError as error:
            key = pack_key(pack.name)
            self.problems[key] = f"at byte {frame.at:,}: {error.message}"
            self.bad_blobs.update((sha256, key) for sha256, _ in frame.blobs)

    def _require_blobs(self, name: str, frame: Frame, stored: bytes) -> None:
        """Raise ModelyardError unless a frame holds the blobs that its index says."""
        size = frame.size
        place = Location(name, frame.at, frame.length, frame.encoding, size, skip=0, size=size)
        data = memoryview(open_frame(stored, place, where=name))
        at = 0
        for sha256, length in frame.blobs:
            if hashlib.sha256(data[at : at + length]).hexdigest() != sha256:
                raise DamagedRepository("is not what its index says", where=name)
            at += length

    def _lose_pack(self, name: str, problem: str, among: dict[str, str]) -> None:
        key = pack_key(name)
        among.setdefault(key, problem)
        with suppress(KeyError):
            for frame in self.index.pack(name).frames:
                for sha256, _ in frame.blobs:
                    place = self.index.find(sha256)
                    if place is not None and place.pack == name:
                        self.bad_blobs[sha256] = key

    def read_snapshots(self) -> None:
        """Read every snapshot and its trees, and look for the blobs that it needs."""
        reader = BlobReader(self.repository, self.index)
        snapshots = []
        for id in self.listing.snapshots:
            try:
                snapshots.append(self.repository.read_snapshot(id))
            except StoreFailed:
                raise
            except ModelyardError as error:
                key = f"snapshots/{id}"
                if self.repository.store.size_bytes(key) is not None:
                    self.problems[key] = error.message
                    self.touched[key][id].append(".")
        if not self._all_whole(snapshots, reader):
            for snapshot in snapshots:
                self._find_touched(snapshot, snapshot.root, reader)

    def _all_whole(self, snapshots: Iterable[Snapshot], reader: BlobReader) -> bool:
        """Whether nothing is missing or bad; each tree is read once for all snapshots."""
        needed = Needed()
        try:
            for snapshot in snapshots:
                needed.add_snapshot(snapshot, reader.read)
        except ModelyardError:
            return False
        return all(
            self.index.find(sha256) is not None and sha256 not in self.bad_blobs
            for sha256 in needed
        )

    def _find_touched(self, snapshot: Snapshot, folder: Item, reader: BlobReader) -> None:
        """Note what of a folder cannot be restored, and because of which objects."""
        try:
            tree = read_tree(folder, reader.read)
        except ModelyardError as error:
            self._note(snapshot, folder, {self._cause(folder, reader, error)})
            return
        for item in tree:
            if item.kind == "folder":
                self._find_touched(snapshot, item, reader)
                continue
            try:
                causes = set(self._causes(content_blobs(item, reader.read)))
            except ModelyardError as error:
                causes = {self._cause(item, reader, error)}
            self._note(snapshot, item, causes)

    def _causes(self, blobs: Iterable[str]) -> Iterator[str]:
        for sha256 in blobs:
            if self.index.find(sha256) is None:
                self.problems.setdefault(_INDEXES, f"none knows the blob {sha256[:16]}")
                yield _INDEXES
            elif sha256 in self.bad_blobs:
                yield self.bad_blobs[sha256]

    def _cause(self, item: Item, reader: BlobReader, error: ModelyardError) -> str:
        """The object because of which a tree or a list of hashes cannot be read.

        Raises StoreFailed where it is the store, which says nothing of what is in it.
        """
        for cause in self._causes(item.blobs):
            return cause
        with suppress(ModelyardError):
            for cause in self._causes(content_blobs(item, reader.read)):
                return cause
        if isinstance(error, StoreFailed):
            raise error
        for sha256 in item.blobs:
            try:
                reader.read(sha256)
            except StoreFailed:
                raise
            except ModelyardError as found:
                place = self.index.find(sha256)
                key = pack_key(place.pack) if place else _INDEXES
                self.problems.setdefault(key, found.message)
                return key
        key = _INDEXES if item.depth else "snapshots"
        self.problems.setdefault(key, f"{item.path or '.'}: {error.message}")
        return key

    def _note(self, snapshot: Snapshot, item: Item, causes: set[str]) -> None:
        for cause in causes:
            self.touched[cause][snapshot.id].append(item.path or ".")

    def damages(self) -> tuple[Damage, ...]:
        """What is wrong, by object."""
        needed = {key: problem for key, problem in self.harmless.items() if key in self.touched}
        return tuple(
            Damage(
                object=key,
                problem=problem,
                touches=tuple(
                    Touched(
                        snapshot=id, items=len(paths), paths=tuple(sorted(paths)[:_LISTED_ITEMS])
                    )
                    for id, paths in sorted(self.touched.get(key, {}).items())
                ),
            )
            for key, problem in sorted({**needed, **self.problems}.items())
        )
