"""The blobs that snapshots need: content, trees and lists of hashes; each tree is read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from modelyard.backup.manifest import (
    Item,
    ReadBlob,
    Snapshot,
    content_blobs,
    list_hashes,
    read_tree,
)


@dataclass(slots=True)
class Needed:
    """Blobs by their SHA-256, as bytes: about 100 bytes of memory for each."""

    content: set[bytes] = field(default_factory=set)
    """The content of files."""
    trees: set[bytes] = field(default_factory=set)
    """Trees of folders, and lists of hashes."""
    _folders: set[tuple[str, ...]] = field(default_factory=set)

    def add_snapshot(self, snapshot: Snapshot, read: ReadBlob) -> None:
        """Add what a snapshot needs. Raises what `read` does, and DamagedSnapshot."""
        self._add_folder(snapshot.root, read)

    def holds(self, sha256: str) -> bool:
        """Whether a blob is needed."""
        digest = bytes.fromhex(sha256)
        return digest in self.content or digest in self.trees

    def is_tree(self, sha256: str) -> bool:
        """Whether a blob is a tree or a list of hashes."""
        return bytes.fromhex(sha256) in self.trees

    def __iter__(self) -> Iterator[str]:
        yield from (digest.hex() for digest in self.trees)
        yield from (digest.hex() for digest in self.content)

    def __len__(self) -> int:
        return len(self.trees) + len(self.content)

    def _add_folder(self, root: Item, read: ReadBlob) -> None:
        folders = [root]
        while folders:
            folder = folders.pop()
            if folder.blobs in self._folders:
                continue  # the same in another place, or in another snapshot
            self._folders.add(folder.blobs)
            self._add_lists(folder.blobs, folder.depth, read)
            self.trees.update(_digests(content_blobs(folder, read)))
            for item in read_tree(folder, read):
                if item.kind == "folder":
                    folders.append(item)
                else:
                    self._add_content(item.blobs, item.depth, read)

    def _add_lists(self, hashes: Iterable[str], depth: int, read: ReadBlob) -> None:
        if depth:
            for sha256 in hashes:
                self.trees.add(bytes.fromhex(sha256))
                self._add_lists(list_hashes(read(sha256), sha256), depth - 1, read)

    def _add_content(self, hashes: Iterable[str], depth: int, read: ReadBlob) -> None:
        if not depth:
            self.content.update(_digests(hashes))
            return
        for sha256 in hashes:
            digest = bytes.fromhex(sha256)
            if digest not in self.trees:
                self.trees.add(digest)
                self._add_content(list_hashes(read(sha256), sha256), depth - 1, read)


def _digests(hashes: Iterable[str]) -> Iterator[bytes]:
    return map(bytes.fromhex, hashes)
