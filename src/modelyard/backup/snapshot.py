"""Making a snapshot of one moment: all of it is stored and confirmed before it appears."""

from __future__ import annotations

import os
import socket
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

from modelyard import __version__
from modelyard.backup.blob_index import BlobIndex, IndexPart
from modelyard.backup.contents import store_file, store_folder, store_link
from modelyard.backup.inventory import inventory
from modelyard.backup.leases import hold_lease
from modelyard.backup.manifest import MOST_ITEMS, Item, LeftOut, Skipped, Snapshot
from modelyard.backup.moment import reading_moment
from modelyard.backup.packing import Packer, packing
from modelyard.backup.parent import Parent, find_parent
from modelyard.backup.pending import pending_packs
from modelyard.backup.repository import Repository, is_on_disk_of
from modelyard.backup.selection import Selection
from modelyard.backup.source import Entry, Source, seen
from modelyard.core.errors import ModelyardError
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes

_SHOWN_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotResult:
    """A snapshot that was made, or would be."""

    snapshot: str | None
    """Its id; None in a dry run."""
    repository: str
    """Where it is."""
    same_disk: bool
    """Whether it is on the disk of the project, which may be lost with both."""
    dry_run: bool
    """Whether nothing was stored."""
    created_at: str
    """The moment that it is of, UTC."""
    parent: str | None
    """The snapshot that unchanged files were taken from."""
    files: int
    """How many files are in it."""
    bytes: int
    """The sum of their sizes."""
    read_files: int
    """How many of them are new or changed, and were read, or would be."""
    read_bytes: int
    """The sum of their sizes."""
    stored_bytes: int
    """What was added to the repository, compressed; 0 in a dry run."""
    seconds: float
    """How long it took."""
    left_out: tuple[LeftOut, ...]
    """What is not in it, on purpose."""
    skipped: tuple[Skipped, ...]
    """What should be in it and is not, or not as it should be."""


def make_snapshot(
    project: Project,
    repository: Repository,
    selection: Selection,
    *,
    progress: Progress,
    tag: str | None = None,
    wait_s: float = 0.0,
) -> SnapshotResult:
    """Make a snapshot of the project as it is now.

    When it returns, everything that was selected and is not in `skipped` is stored, read back if it
    is new, and confirmed by its name and size if it is not. Killed at any time, it leaves the older
    snapshots as they were, and the same again completes it. Raises InvalidInput for an adapter
    that does not exist, LockHeld while another backup runs, and ModelyardError when the repository
    or state.db cannot be read or written.
    """
    began = time.monotonic()
    contents = inventory(project, selection, repository=repository.store.folder)
    with (
        _holding_versions(project, wait_s, progress),
        hold_lease(repository.store, "backup") as lease,
        ExitStack() as stack,
    ):
        index, parent, newest = _what_is_stored(project, repository, progress)
        # After what takes a while: what was there at the moment is now read at once.
        moment = stack.enter_context(reading_moment(project))
        source = Source(project, contents, moment)
        survey = _survey(source, parent)
        progress.stage(
            f"back up {counted(survey.files, 'file')}, {megabytes(survey.bytes)}; "
            f"{counted(survey.read_files, 'file')}, {megabytes(survey.read_bytes)}, "
            f"{'is' if survey.read_files == 1 else 'are'} new or changed"
        )
        source.skipped.clear()
        with packing(repository, index) as packer:
            run = _Run(source, parent, packer, progress, survey.read_bytes)
            before = parent.snapshot.root if parent else None
            root = run.store_folder(Entry("", project.root.stat()), before)
            source.end()
            packer.finish()
        run.end()
        lease.require()
        snapshot = Snapshot(
            created_at=moment.at,
            host=socket.gethostname(),
            project=str(project.root.resolve()),
            modelyard=__version__,
            selection=selection,
            tag=tag,
            parent=parent.snapshot.id if parent else None,
            indexes=tuple(sorted(index.names)),
            root=root,
            items=run.items,
            files=run.files,
            bytes=run.bytes,
            left_out=(*contents.left_out, *source.left_out.values()),
            skipped=tuple(source.skipped.values()),
        )
        try:
            snapshot = _publish(repository, snapshot, index, newest)
        except BaseException:
            lease.leave()  # as when killed: a snapshot may be there that no index names
            raise
    return SnapshotResult(
        snapshot=snapshot.id,
        repository=repository.store.url,
        same_disk=is_on_disk_of(project, repository.store.url),
        dry_run=False,
        created_at=snapshot.created_at,
        parent=snapshot.parent,
        files=run.files,
        bytes=run.bytes,
        read_files=run.read_files,
        read_bytes=run.read_bytes,
        stored_bytes=packer.stored_bytes,
        seconds=time.monotonic() - began,
        left_out=snapshot.left_out,
        skipped=snapshot.skipped,
    )


def _publish(
    repository: Repository, snapshot: Snapshot, index: BlobIndex, newest: str | None
) -> Snapshot:
    """Store a snapshot, and then name it as complete, so that it is missed if it vanishes."""
    stored = repository.put_snapshot(snapshot, after=newest)
    # With those of backups that were killed before they named theirs.
    named = {stored.id, *repository.snapshots()} - index.snapshots - index.removed
    repository.put_index(IndexPart(snapshots=tuple(sorted(named))))
    return stored


def plan_snapshot(
    project: Project,
    repository: Repository | None,
    selection: Selection,
    *,
    url: str,
    progress: Progress,
) -> SnapshotResult:
    """What `make_snapshot` would read now; writes nothing, and reads no content.

    repository: None where there is none yet at `url`. Raises what `make_snapshot` raises.
    """
    began = time.monotonic()
    folder = repository.store.folder if repository else None
    contents = inventory(project, selection, repository=folder)
    with reading_moment(project) as moment:
        source = Source(project, contents, moment)
        parent = None
        if repository is not None:
            _, parent, _ = _what_is_stored(project, repository, progress)
        survey = _survey(source, parent)
    return SnapshotResult(
        snapshot=None,
        repository=url,
        same_disk=is_on_disk_of(project, url),
        dry_run=True,
        created_at=moment.at,
        parent=parent.snapshot.id if parent else None,
        files=survey.files,
        bytes=survey.bytes,
        read_files=survey.read_files,
        read_bytes=survey.read_bytes,
        stored_bytes=0,
        seconds=time.monotonic() - began,
        left_out=(*contents.left_out, *source.left_out.values()),
        skipped=tuple(source.skipped.values()),
    )


def _holding_versions(
    project: Project, wait_s: float, progress: Progress
) -> AbstractContextManager[None]:
    """Keep versions from being removed; nobody can where the project cannot be written."""
    if not os.access(project.local_state, os.W_OK):
        return nullcontext()
    return exclusive_lock(
        project.versions_lock, what="backup of the project", wait_s=wait_s, progress=progress
    )


def _what_is_stored(
    project: Project, repository: Repository, progress: Progress
) -> tuple[BlobIndex, Parent | None, str | None]:
    """Where the blobs are on which this run may rely, the newest snapshot of this folder, and the
    newest of all.

    A pack must be there in its full size. What only packs hold that are to go, or that are missing
    or too short, is stored again. The order of reading is that of pending.py.
    """

    def warn(name: str, error: ModelyardError) -> None:
        progress.warn(f"{error}; what it tells of is stored again")

    pending = pending_packs(repository.store)
    index = repository.load_index(repository.listing(), on_damage=warn)
    listing = repository.listing()
    lost = {name for name, size in index.packs().items() if listing.packs.get(name) != size}
    if lost:
        what = counted(len(lost), "pack is", "packs are")
        progress.warn(f"{what} missing or too short; what they held is stored again")
    if lost | pending:
        index = index.without(lost | pending)
    here = socket.gethostname(), str(project.root.resolve())
    parent = find_parent(
        repository,
        listing.snapshots,
        index,
        lambda snapshot: (snapshot.host, snapshot.project) == here,
        lost_packs=bool(lost | pending),
    )
    return index, parent, max(listing.snapshots, default=None)


@dataclass(slots=True)
class _Counts:
    """How much there is, and how much of it has to be read."""

    items: int = 0
    files: int = 0
    bytes: int = 0
    read_files: int = 0
    read_bytes: int = 0


def _survey(source: Source, parent: Parent | None) -> _Counts:
    """What is there and what has changed, by what the system says of it."""
    counts = _Counts()

    def visit(folder: str, before: Item | None) -> None:
        known = parent.items(before) if parent else {}
        for entry in source.entries(folder):
            item = known.get(entry.path)
            counts.items += 1
            if entry.is_folder:
                visit(entry.path, item)
            elif entry.target is None:
                counts.files += 1
                counts.bytes += entry.found.st_size
                if _unchanged(source, parent, entry, item) is None:
                    counts.read_files += 1
                    counts.read_bytes += entry.found.st_size

    visit("", parent.snapshot.root if parent else None)
    if counts.items > MOST_ITEMS:
        raise ModelyardError(
            f"the project holds {counts.items:,} files and folders, and a snapshot {MOST_ITEMS:,}",
            where=str(source.project.root),
            hint="leave out experiments or data sets that are stored elsewhere",
        )
    return counts


def _unchanged(
    source: Source, parent: Parent | None, entry: Entry, item: Item | None
) -> Item | None:
    """The item of a file that is as it was, and is still stored; else None."""
    if parent is None or item is None or not item.seen or item.kind not in ("file", "sqlite"):
        return None
    if item.seen != seen(source.place(entry.path), entry.found) or not parent.is_stored(item):
        return None
    return item if item.mode == entry.mode else replace(item, mode=entry.mode)


class _Run(_Counts):
    """Stores what the source has, folder by folder."""

    def __init__(
        self,
        source: Source,
        parent: Parent | None,
        packer: Packer,
        progress: Progress,
        total_bytes: int,
    ) -> None:
        super().__init__()
        self._source, self._parent, self._packer = source, parent, packer
        self._progress = progress
        self._read_so_far = 0
        self._shown_at = 0.0
        progress.begin("back up", max(total_bytes, 1), "bytes")

    def store_folder(self, folder: Entry, before: Item | None) -> Item:
        """The item of a folder, once everything in it is with the packer."""
        known = self._parent.items(before) if self._parent else {}
        self._source.begin_folder(folder)
        items = []
        for entry in self._source.entries(folder.path):
            item = self._store(entry, known.get(entry.path))
            if item is not None:
                items.append(item)
                self.items += 1
        return store_folder(self._packer, folder, items)

    def end(self) -> None:
        """Show that all is done."""
        self._show(f"{megabytes(self._packer.stored_bytes)} stored")
        self._progress.end()

    def _store(self, entry: Entry, before: Item | None) -> Item | None:
        if entry.is_folder:
            return self.store_folder(entry, before)
        if entry.target is not None:
            return store_link(self._source, entry)
        item = _unchanged(self._source, self._parent, entry, before)
        if item is None:
            item = store_file(self._source, self._packer, entry, self._advance)
            if item is None:
                return None
            self.read_files += 1
            self.read_bytes += item.size
        self.files += 1
        self.bytes += item.size
        self._source.check(item)
        return item

    def _advance(self, more: int) -> None:
        self._read_so_far += more
        now = time.monotonic()
        if now - self._shown_at > _SHOWN_EVERY_S:
            self._shown_at = now
            self._show(f"{megabytes(self._packer.stored_bytes)} stored")

    def _show(self, figures: str) -> None:
        self._progress.advance(self._read_so_far, figures)
