"""The snapshot before: which files have not changed since, and whether they are still stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelyard.backup.blob_index import BlobIndex
from modelyard.backup.manifest import Item, Snapshot, content_blobs, read_tree
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository
from modelyard.core.errors import ModelyardError


@dataclass(frozen=True, slots=True)
class Parent:
    """The snapshot that unchanged files are taken from."""

    snapshot: Snapshot
    """What it says."""
    index: BlobIndex
    """Where its blobs are; only in packs that the store has."""
    reader: BlobReader
    """Reads its trees."""
    is_whole: bool
    """Whether nothing has vanished from the repository since, so that what it names is there."""

    def items(self, folder: Item | None) -> dict[str, Item]:
        """What was in a folder then, by its path; nothing where that cannot be read."""
        if folder is None or folder.kind != "folder":
            return {}
        try:
            return {item.path: item for item in read_tree(folder, self.reader.read)}
        except ModelyardError:
            return {}  # what is damaged or missing is read and stored again

    def is_stored(self, item: Item) -> bool:
        """Whether every blob of an item is in a pack that the store has."""
        if not all(self.index.find(sha256) for sha256 in item.blobs):
            return False
        if self.is_whole or item.depth == 0:
            return True
        try:
            blobs = content_blobs(item, self.reader.read)
            return all(self.index.find(sha256) for sha256 in blobs)
        except ModelyardError:
            return False


def find_parent(
    repository: Repository,
    snapshots: Sequence[str],
    index: BlobIndex,
    is_ours: Callable[[Snapshot], bool],
    *,
    lost_packs: bool,
) -> Parent | None:
    """The newest of these snapshots that `is_ours` and can be read; None where there is none.

    index: of the packs that the store has. lost_packs: whether it has others no more.
    """
    for id in reversed(snapshots):
        try:
            snapshot = repository.read_snapshot(id)
        except ModelyardError:
            continue
        if is_ours(snapshot):
            is_whole = not lost_packs and index.names.issuperset(snapshot.indexes)
            return Parent(snapshot, index, BlobReader(repository, index), is_whole)
    return None
