"""Snapshots made by hand, also such as no backup makes."""

from __future__ import annotations

import hashlib
import posixpath
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.backup.blob_index import FRAME_BYTES, Frame, IndexPart, Pack
from modelyard.backup.compression import compress
from modelyard.backup.manifest import Item, Snapshot, block_bytes, tree_bytes
from modelyard.backup.repository import Repository
from modelyard.backup.selection import Selection
from modelyard.core.layout import Project

MTIME_NS = 1_790_000_000_123_456_789


@dataclass(frozen=True, slots=True)
class Link:
    """A link that leads to `target`."""

    target: str


@dataclass(frozen=True, slots=True)
class Pages:
    """The content of a SQLite file."""

    data: bytes


Content = bytes | Link | Pages | None
"""What is at a path; None: an empty folder."""


def store(
    repository: Repository,
    contents: Mapping[str, Content],
    *,
    change: Callable[[Item], Item] = lambda item: item,
    blobs_in_a_frame: int = 3,
) -> Snapshot:
    """A snapshot of these contents; `change` is applied to every item before it is stored."""
    blobs: dict[str, bytes] = {}
    children: dict[str, list[Item]] = {"": []}
    for path in sorted({parent for place in contents for parent in _parents(place)}):
        children.setdefault(path, [])
    for path, content in contents.items():
        if content is None:
            children.setdefault(path, [])
            continue
        children[posixpath.dirname(path)].append(change(_item(path, content, blobs)))
    count = sum(len(items) for items in children.values())
    for path in sorted(filter(None, children), key=lambda path: -path.count("/")):
        folder = _folder(path, children[path], blobs)
        children[posixpath.dirname(path)].append(change(folder))
        count += 1
    root = _folder("", children[""], blobs)
    index = store_blobs(repository, list(blobs.values()), blobs_in_a_frame)
    files = [item for items in children.values() for item in items if item.kind != "folder"]
    snapshot = repository.put_snapshot(
        Snapshot(
            created_at="2026-11-30T18:00:00Z",
            host="here",
            project="/srv/project",
            modelyard="1.0",
            selection=Selection(),
            root=root,
            indexes=(index,),
            items=count,
            files=sum(item.kind != "link" for item in files),
            bytes=sum(item.size for item in files),
        )
    )
    repository.put_index(IndexPart(snapshots=(snapshot.id,)))
    return snapshot


def store_blobs(repository: Repository, blobs: Sequence[bytes], blobs_in_a_frame: int = 3) -> str:
    """Packs of two frames each with these blobs, and their index; returns its name."""
    frames, packs = [], []
    large = [[blob] for blob in blobs if len(blob) > FRAME_BYTES // blobs_in_a_frame]
    small = [blob for blob in blobs if len(blob) <= FRAME_BYTES // blobs_in_a_frame]
    count = range(0, len(small), blobs_in_a_frame)
    for chunk in [*large, *(small[start : start + blobs_in_a_frame] for start in count)]:
        held = tuple((hashlib.sha256(blob).hexdigest(), len(blob)) for blob in chunk)
        frames.append((b"".join(chunk), held))
    for start in range(0, len(frames), 2):
        data, described = b"", []
        for number, (plain, held) in enumerate(frames[start : start + 2]):
            stored = compress(plain) if number == 0 else plain
            described.append(Frame(len(data), len(stored), "raw" if number else "zstd", held))
            data += stored
        name, size = repository.put_pack(data)
        packs.append(Pack(name, size, tuple(described)))
    return repository.put_index(IndexPart(packs=tuple(packs)))


def sqlite_bytes(place: Path, rows: int) -> bytes:
    """The bytes of a SQLite file with that many rows."""
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany(
            "INSERT INTO texts (text) VALUES (?)",
            [(hashlib.sha256(str(number).encode()).hexdigest(),) for number in range(rows)],
        )
    return place.read_bytes()


def _item(path: str, content: bytes | Link | Pages, blobs: dict[str, bytes]) -> Item:
    if isinstance(content, Link):
        return Item(path=path, kind="link", mtime_ns=MTIME_NS, target=content.target)
    data = content.data if isinstance(content, Pages) else content
    item = Item(path=path, kind="sqlite" if isinstance(content, Pages) else "file", mode=0o640)
    return replace(
        item,
        mtime_ns=MTIME_NS,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        blobs=_cut(data, block_bytes(item.kind), blobs),
    )


def _folder(path: str, items: Sequence[Item], blobs: dict[str, bytes]) -> Item:
    data = tree_bytes(items)
    return Item(
        path=path,
        kind="folder",
        mode=0o750,
        mtime_ns=MTIME_NS,
        size=len(data),
        blobs=_cut(data, block_bytes("folder"), blobs),
    )


def _cut(data: bytes, size: int, blobs: dict[str, bytes]) -> tuple[str, ...]:
    cut = [data[start : start + size] for start in range(0, len(data), size)]
    names = [hashlib.sha256(blob).hexdigest() for blob in cut]
    blobs.update(zip(names, cut, strict=True))
    return tuple(names)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def contents_of(project: Project) -> dict[str, Content]:
    """What is in a project's folders, for `store`; nothing may be writing to it."""
    contents: dict[str, Content] = {}
    for path in sorted(project.root.rglob("*")):
        name = path.relative_to(project.root).as_posix()
        if name.startswith((".models/locks", ".models/restor", ".models/backups")):
            continue
        if path.is_symlink():
            contents[name] = Link(str(path.readlink()))
        elif path.is_dir():
            contents.update({} if any(path.iterdir()) else {name: None})
        elif path.suffix in (".db", ".index"):
            contents[name] = Pages(_whole_database(path))
        elif not path.name.endswith(("-wal", "-shm")):
            contents[name] = path.read_bytes()
    return contents


def _whole_database(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as there, closing(sqlite3.connect(":memory:")) as copy:
        there.backup(copy)
        return copy.serialize()
