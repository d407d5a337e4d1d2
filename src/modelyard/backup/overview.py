"""The snapshots of a repository: all of them, what one holds, and how two differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from modelyard.backup.compression import DamagedData
from modelyard.backup.encryption import CannotDecrypt
from modelyard.backup.manifest import (
    DamagedSnapshot,
    Item,
    Kind,
    LeftOut,
    ReadBlob,
    Skipped,
    Snapshot,
    read_tree,
    walk,
)
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import DamagedRepository, Repository
from modelyard.backup.selection import Selection

_PLACE_PARTS = 3
"""What lies deeper than so many folders is summed up in one: `models/versions/support`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSnapshot:
    """One snapshot of a list."""

    snapshot: str
    """Its id."""
    created_at: str
    """When it was made, UTC."""
    host: str
    """The machine that made it."""
    project: str
    """The folder of the project there."""
    tag: str | None
    """A word of the user's."""
    selection: Selection
    """What was chosen."""
    files: int
    """How many files are in it."""
    bytes: int
    """The sum of their sizes."""
    skipped: int
    """How many things should be in it and are not, or not as they should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableSnapshot:
    """A snapshot that cannot be read."""

    snapshot: str
    """Its id."""
    problem: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryShown:
    """A repository and its snapshots."""

    repository: str
    """Where it is."""
    encrypted: bool
    """Whether everything in it is encrypted."""
    snapshots: tuple[ListedSnapshot, ...]
    """From the oldest to the newest."""
    unreadable: tuple[UnreadableSnapshot, ...]
    """Snapshots that are damaged, or were made and are gone though nobody removed them."""
    stored_bytes: int
    """The size of all packs, in which snapshots share what did not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceShown:
    """A folder: what is directly in it, and of a deep one what is below it too."""

    path: str
    """From the project's root."""
    files: int
    """How many files."""
    bytes: int
    """The sum of their sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemShown:
    """A file, link or folder of a snapshot."""

    path: str
    """From the project's root."""
    kind: Kind
    """What it is; `sqlite` is a file whose pages are stored one by one."""
    bytes: int
    """The size of a file, else 0."""
    sha256: str | None
    """The SHA-256 of a file's content."""
    target: str | None
    """Where a link leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotShown:
    """One snapshot, and what is in it."""

    snapshot: ListedSnapshot
    """What `models backup list` says of it."""
    modelyard: str
    """The version of modelyard that made it."""
    parent: str | None
    """The snapshot that unchanged files were taken from."""
    places: tuple[PlaceShown, ...]
    """What is in it, summed up by place."""
    left_out: tuple[LeftOut, ...]
    """What is not in it, on purpose."""
    skipped: tuple[Skipped, ...]
    """What should be in it and is not, or not as it should be."""
    items: tuple[ItemShown, ...]
    """Everything in it; empty unless it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not the same in two snapshots."""

    path: str
    """From the project's root; of a folder that one of them lacks, all below it is listed too."""
    change: Literal["added", "removed", "changed"]
    """What became of it from the first to the second."""
    kind: Kind
    """What it is in the second, or was in the first."""
    bytes_before: int
    """The size of a file in the first snapshot; 0 where it is none."""
    bytes_after: int
    """The size of a file in the second snapshot; 0 where it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsDiff:
    """How two snapshots differ; times of files do not count."""

    before: str
    """The id of the first."""
    after: str
    """The id of the second."""
    differences: tuple[Difference, ...]
    """In the order of the paths; none where both hold the same."""


def list_snapshots(repository: Repository) -> RepositoryShown:
    """All snapshots of a repository; a damaged one does not hide the others."""
    listing = repository.listing()
    listed, unreadable = [], []
    for id in listing.snapshots:
        try:
            listed.append(_listed(repository.read_snapshot(id)))
        except (DamagedRepository, DamagedSnapshot, DamagedData, CannotDecrypt) as error:
            unreadable.append(UnreadableSnapshot(snapshot=id, problem=error.message))
    index = repository.load_index(listing)
    unreadable += [
        UnreadableSnapshot(snapshot=id, problem="is missing, and no prune has removed it")
        for id in sorted(index.snapshots.difference(repository.snapshots(), listing.snapshots))
    ]
    return RepositoryShown(
        repository=repository.store.url,
        encrypted=repository.cipher is not None,
        snapshots=tuple(listed),
        unreadable=tuple(unreadable),
        stored_bytes=sum(listing.packs.values()),
    )


def show_snapshot(repository: Repository, name: str, *, with_items: bool = False) -> SnapshotShown:
    """One snapshot (an id, its beginning, or `latest`) and what is in it, from its trees alone.

    Raises NoData, InvalidInput, and what reading a damaged tree raises.
    """
    snapshot = repository.load_snapshot(name)
    reader = BlobReader(repository, repository.load_index())
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    items = []
    for item in walk(snapshot, reader.read):
        if item.kind != "folder":
            place = "/".join(item.path.split("/")[:-1][:_PLACE_PARTS]) or item.path
            files[place] = files.get(place, 0) + 1
            sizes[place] = sizes.get(place, 0) + item.size
        if with_items:
            items.append(_shown(item))
    return SnapshotShown(
        snapshot=_listed(snapshot),
        modelyard=snapshot.modelyard,
        parent=snapshot.parent,
        places=tuple(
            PlaceShown(path=place, files=files[place], bytes=sizes[place])
            for place in sorted(files)
        ),
        left_out=snapshot.left_out,
        skipped=snapshot.skipped,
        items=tuple(items),
    )


def diff_snapshots(repository: Repository, before: str, after: str) -> SnapshotsDiff:
    """How the second snapshot differs from the first; folders that are equal are not read.

    Raises NoData, InvalidInput, and what reading a damaged tree raises.
    """
    first, second = repository.load_snapshot(before), repository.load_snapshot(after)
    reader = BlobReader(repository, repository.load_index())
    found = _compare(first.root, second.root, reader.read)
    return SnapshotsDiff(
        before=first.id,
        after=second.id,
        differences=tuple(sorted(found, key=lambda one: one.path)),
    )


def _listed(snapshot: Snapshot) -> ListedSnapshot:
    return ListedSnapshot(
        snapshot=snapshot.id,
        created_at=snapshot.created_at,
        host=snapshot.host,
        project=snapshot.project,
        tag=snapshot.tag,
        selection=snapshot.selection,
        files=snapshot.files,
        bytes=snapshot.bytes,
        skipped=len(snapshot.skipped),
    )


def _shown(item: Item) -> ItemShown:
    return ItemShown(
        path=item.path, kind=item.kind, bytes=_size(item), sha256=item.sha256, target=item.target
    )


def _size(item: Item | None) -> int:
    return 0 if item is None or item.kind == "folder" else item.size


def _compare(before: Item, after: Item, read: ReadBlob) -> Iterator[Difference]:
    """The differences below two folders."""
    if before.blobs == after.blobs:
        return
    old = {item.path: item for item in read_tree(before, read)}
    new = {item.path: item for item in read_tree(after, read)}
    for path in sorted(old.keys() | new.keys()):
        one, other = old.get(path), new.get(path)
        if one is None or other is None or _what(one) != _what(other):
            yield _difference(one, other)
        inside = [item for item in (one, other) if item is not None and item.kind == "folder"]
        if len(inside) == 2:
            yield from _compare(inside[0], inside[1], read)
        elif inside:
            yield from _below(inside[0], read, is_new=inside[0] is other)


def _below(folder: Item, read: ReadBlob, *, is_new: bool) -> Iterator[Difference]:
    """All that is in a folder which only one of the snapshots has."""
    for item in read_tree(folder, read):
        yield _difference(None, item) if is_new else _difference(item, None)
        if item.kind == "folder":
            yield from _below(item, read, is_new=is_new)


def _what(item: Item) -> tuple[Kind, int, str | None, str | None]:
    return item.kind, item.mode, item.sha256, item.target


def _difference(before: Item | None, after: Item | None) -> Difference:
    item = after or before
    assert item is not None
    return Difference(
        path=item.path,
        change="added" if before is None else "removed" if after is None else "changed",
        kind=item.kind,
        bytes_before=_size(before),
        bytes_after=_size(after),
    )
